package mcp_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/toolserver"
	"github.com/keyturn/keyturn/mcp"
)

// reformed is an answer whose event stream begins with a byte order mark, or has other line ends.
type reformed struct {
	http.ResponseWriter
	mark, end string
	begun     bool
}

func (w *reformed) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *reformed) Flush() { w.ResponseWriter.(http.Flusher).Flush() }

func (w *reformed) Write(p []byte) (int, error) {
	if !strings.HasPrefix(w.Header().Get("Content-Type"), "text/event-stream") {
		return w.ResponseWriter.Write(p)
	}
	out := bytes.ReplaceAll(p, []byte("\n"), []byte(w.end))
	if !w.begun {
		out = append([]byte(w.mark), out...)
	}
	w.begun = true
	_, err := w.ResponseWriter.Write(out)
	return len(p), err
}

// TestStreamForms has streams in every form that the standard allows (WHATWG HTML, section 9.2.5): answers, and the stream on which the server tells
// that its list changed.
func TestStreamForms(t *testing.T) {
	t.Parallel()
	for _, form := range []struct{ name, mark, end string }{
		{"byte order mark", "\xef\xbb\xbf", "\n"},
		{"CR", "", "\r"},
		{"CRLF and byte order mark", "\xef\xbb\xbf", "\r\n"},
	} {
		for _, kind := range kinds {
			if kind.opts.JSON {
				continue
			}
			t.Run(form.name+"/"+kind.name, func(t *testing.T) {
				t.Parallel()
				ts := toolserver.New(kind.opts)
				front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					ts.ServeHTTP(&reformed{ResponseWriter: w, mark: form.mark, end: form.end}, r)
				}))
				t.Cleanup(front.Close)
				t.Cleanup(func() { require.NoError(t, ts.Close()) })
				path := kind.path
				if path == "" {
					path = toolserver.Path
				}
				c := connected(t, mcp.Server{URL: front.URL + path, Transport: kind.transport})
				echo(t, c)
				ts.Add("another", "")
				require.Eventually(t, func() bool { return len(c.Tools(t.Context(), []string{"demo"})) == len(all)+1 }, patience, interval)
			})
		}
	}
}
