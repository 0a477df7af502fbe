package scripted_test

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/scripted"
)

var rewrite = flag.Bool("rewrite", false, "write the answers into testdata instead of comparing with it")

// TestOnTheWire holds the exact bytes of the answers, to be read beside the APIs' references. In each file the comment is the
// path, "request" the body, "whole" the answer to it and "stream" the answer with "stream": true.
func TestOnTheWire(t *testing.T) { onTheWire(t, "testdata/*.txtar", scripted.OK("Hello, world")) }

// TestToolsOnTheWire is the same for a model that thinks, searches, calls and refuses.
func TestToolsOnTheWire(t *testing.T) {
	onTheWire(t, "testdata/tools/*.txtar", scripted.Say(
		scripted.Think("A sum and a city."), scripted.Text("Let me see."), scripted.Call("add", `{"a":1,"b":2}`),
		scripted.Call("weather", `{"city":"Zürich"}`), scripted.Hosted("Zürich"), scripted.Custom("shell", "ls"),
		scripted.RedactedThinking(), scripted.Refuse("Not that."), scripted.Incomplete("max_output_tokens"),
	).UsageDetails(5, 0))
}

// TestErrorsOnTheWire holds streams that fail under a 200, in the provider's own framing and in one that is as odd as can be.
func TestErrorsOnTheWire(t *testing.T) {
	quota := scripted.Problem{Status: 429, Type: "insufficient_quota", Code: "insufficient_quota", Message: "You exceeded your current quota."}
	onTheWire(t, "testdata/errors/*.txtar", scripted.ErrorFirst(quota))
	odd := scripted.Framing{
		CRLF: true, Pretty: true, NoNames: true, Comment: "OPENROUTER PROCESSING", NoFinalBlank: true, Done: true, FlatErrors: true,
	}
	onTheWire(t, "testdata/odd/*.txtar", scripted.Say(scripted.Call("add", `{}`), scripted.Broken(quota)).Framed(odd))
}

func onTheWire(t *testing.T, pattern string, answer scripted.Answer) {
	t.Helper()
	files, err := filepath.Glob(pattern)
	require.NoError(t, err)
	require.NotEmpty(t, files)
	times := regexp.MustCompile(`("(?:created|created_at|completed_at)": ?)\d+`)
	for _, name := range files {
		t.Run(name, func(t *testing.T) {
			a, err := txtar.ParseFile(name)
			require.NoError(t, err)
			require.Len(t, a.Files, 3)
			request := strings.TrimSpace(string(a.Files[0].Data))
			for i, body := range []string{request, strings.Replace(request, "{", `{"stream":true,`, 1)} {
				_, srv := provider(t, answer)
				r := post(t, srv, strings.TrimSpace(string(a.Comment)), body)
				got := times.ReplaceAllString(r.body, "${1}0")
				if strings.Contains(got, "\r") { // to be read, and to be kept by editors
					got = strings.ReplaceAll(got, "\r", "<CR>")
				} else {
					got = strings.TrimSpace(got) + "\n"
				}
				if !strings.HasSuffix(got, "\n") {
					got += "<END>\n"
				}
				if *rewrite {
					a.Files[i+1].Data = []byte(got)
				}
				require.Equal(t, string(a.Files[i+1].Data), got)
			}
			if *rewrite {
				require.NoError(t, os.WriteFile(name, txtar.Format(a), 0o600))
			}
		})
	}
}
