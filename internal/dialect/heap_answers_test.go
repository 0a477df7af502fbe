package dialect_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/dialect"
)

// TestHeapOfAnswers holds what an answer costs that does not stream to the same bound.
func TestHeapOfAnswers(t *testing.T) {
	if race { // as TestHeapOfRequests
		return
	}
	for _, d := range []struct {
		dialect.Dialect
		request string
		formats []string
	}{
		{dialect.Responses, `{"model":"m","input":"x"}`, []string{`{"id":"r","status":"completed","output":%}`, `{"id":"r","output":[],"usage":%}`}},
		{dialect.Chat, `{"model":"m","messages":[{"role":"user","content":"x"}]}`, []string{
			`{"id":"c","choices":%}`, `{"id":"c","choices":[{"message":{"role":"assistant","content":%}}]}`, `{"id":"c","choices":[{"message":{"role":"assistant","tool_calls":%}}]}`,
		}},
		{dialect.Messages, `{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"x"}]}`, []string{`{"id":"m","type":"message","content":%}`}},
	} {
		for name, value := range hostile() {
			for _, format := range d.formats {
				t.Run(d.Name()+"/"+name+"/"+format[:min(len(format), 40)], func(t *testing.T) {
					body := strings.Replace(format, "%", value, 1)
					for tries := 1; ; tries++ {
						s := openWith(d.Dialect, []byte(d.request), dialect.Options{Tools: scenarioTools(), ModelName: scenarioModelName, Memory: scenarioMemory{}})
						most := float64(peak(func() { s.Whole([]byte(body)) }))
						t.Logf("%.2f bytes a byte", most/float64(len(body)))
						if most < inWork*float64(len(body))+constant {
							break
						}
						require.Less(t, tries, 12, "%.2f bytes a byte", most/float64(len(body)))
					}
				})
			}
		}
	}
}
