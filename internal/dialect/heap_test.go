package dialect_test

import (
	"maps"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/dialect"
)

// Bounds of what a body costs, in bytes of heap for each of its own: its own included while it is worked on, and of what is kept
// while the response lives.
const (
	inWork = 4.0
	kept   = 1.2
	// constant is what does not grow with the body, or no further: lists of up to 1024 elements, the definitions of tools.
	constant = 1 << 20
)

// peak is the most heap that is reachable while f runs.
func peak(f func()) uint64 {
	defer debug.SetGCPercent(debug.SetGCPercent(2))
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	read := func() uint64 { metrics.Read(sample); return sample[0].Value.Uint64() }
	runtime.GC()
	before, most := read(), uint64(0)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			most = max(most, read())
			select {
			case <-stop:
				return
			default:
				runtime.Gosched()
			}
		}
	})
	f()
	close(stop)
	wg.Wait()
	return most - min(most, before)
}

// hostile are values that cost a reader the most memory for each of their bytes.
func hostile() map[string]string {
	const size = 2 << 20
	fill := func(begin, piece, end string) string {
		return begin + strings.Repeat(piece, (size-len(begin)-len(end))/len(piece)) + end
	}
	values := map[string]string{
		"zeros":       fill(`[`, `0,`, `0]`),
		"lists":       fill(`[`, `[],`, `[]]`),
		"objects":     fill(`[`, `{},`, `{}]`),
		"depth":       strings.Repeat(`[`, size/2) + strings.Repeat(`]`, size/2),
		"members":     fill(`{`, `"":0,`, `"":0}`),
		"small items": fill(`[`, `{"id":"a"},`, `{"id":"a"}]`), "small answers": fill(`[`, `{"role":"assistant"},`, `{"role":"assistant"}]`),
		"small messages": fill(`[`, `{"role":"user","content":""},`, `{"role":"user"}]`),
		"messages":       fill(`[`, `{"role":"user","content":"some words that are a message, as people write them"},`, `{"role":"user","content":""}]`),
		"answers":        fill(`[`, `{"role":"assistant","content":"some words that are an answer, as models write"},`, `{"role":"user","content":""}]`),
		"references":     fill(`[`, `{"type":"item_reference","id":"msg_68a1b2c3d4e5f60718293a4b5c6d7e8f90"},`, `{"id":"a"}]`),
		"own calls":      fill(`[`, `{"id":"mcp-ABab"},`, `{"id":"a"}]`),
		"calls":          fill(`[{"role":"assistant","tool_calls":[`, `{"id":"a"},`, `{}]}]`),
		"blocks":         fill(`[{"role":"assistant","content":[`, `{"type":"tool_use","id":"a"},`, `{}]}]`),
		"parts":          fill(`[{"role":"user","content":[`, `{},`, `{}]}]`),
		"a text":         fill(`[{"role":"user","content":"`, `some words `, `"}]`),
		"an answer":      fill(`[{"role":"assistant","content":"`, `some words `, `"}]`),
		"escapes":        fill(`[{"role":"assistant","content":"`, `\u00e9`, `"}]`),
		"short escapes":  fill(`[{"role":"user","content":"`, `\n`, `"}]`),
		"tools":          fill(`[{"type":"additional_tools","tools":[`, `{"name":"a"},`, `{}]}]`),
		"an image":       fill(`[{"role":"user","content":[{"type":"image","source":{`, `"a":1,`, `"b":1}}]}]`),
	}
	if !*every { // the worst, and one as clients send them
		maps.DeleteFunc(values, func(name, _ string) bool {
			return !slices.Contains([]string{"zeros", "depth", "references", "messages"}, name)
		})
	}
	return values
}

// What a body costs is bounded by its size, whatever is in it.
func TestHeapOfRequests(t *testing.T) {
	if race { // it takes memory by itself; make test runs this package without it
		return
	}
	for _, d := range []struct {
		dialect.Dialect
		list string
	}{{dialect.Responses, "input"}, {dialect.Chat, "messages"}, {dialect.Messages, "messages"}} {
		for name, value := range hostile() {
			for _, hidden := range []bool{false, true} {
				for where, format := range map[string]string{
					"the list":   `{"model":"m","max_tokens":9,"` + d.list + `":%}`,
					"the tools":  `{"model":"m","max_tokens":9,"` + d.list + `":[],"tools":%}`,
					"the choice": `{"model":"m","max_tokens":9,"` + d.list + `":[],"tool_choice":%}`,
					"elsewhere":  `{"model":"m","max_tokens":9,"` + d.list + `":[],"z":%,"user":%}`,
				} {
					if where != "the list" && (hidden || !slices.Contains([]string{"zeros", "objects", "members", "depth", "tools"}, name)) ||
						hidden && d.Dialect != dialect.Responses {
						continue // nothing else is read of it
					}
					t.Run(strings.Join([]string{d.Name(), name, where}, "/"), func(t *testing.T) {
						var s dialect.Session
						body := strings.Replace(format, "%", value, 1)
						body = strings.Replace(body, "%", `"u"`, 1)
						size := float64(len(body))
						for tries := 1; ; tries++ { // what is allocated while the collector marks counts too, and on a busy machine that takes long
							most := float64(peak(func() {
								s = openWith(d.Dialect, []byte(body), dialect.Options{
									Tools: scenarioTools(), ModelName: scenarioModelName, Memory: scenarioMemory{}, Hidden: hidden,
								})
							}))
							if t.Logf("%.2f bytes a byte, session %v", most/size, s != nil); most < inWork*size+constant {
								break
							}
							require.Less(t, tries, 12, "%.2f bytes a byte", most/size)
						}
						var before, after runtime.MemStats
						runtime.GC()
						runtime.ReadMemStats(&before)
						runtime.KeepAlive(s)
						s = nil
						runtime.GC()
						runtime.ReadMemStats(&after)
						require.Less(t, float64(before.HeapAlloc)-float64(after.HeapAlloc), kept*size+constant)
					})
				}
			}
		}
	}
}
