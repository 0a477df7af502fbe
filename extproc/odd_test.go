package extproc_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

// What may have calls of Keyturn's tools in it is read, whatever the provider says that it is; the client never sees such a call.
func TestOddAnswers(t *testing.T) {
	wholeCall, wholeText := whole("1", call("1", `{"x":1}`)), whole("2", message("2", "done"))
	stream, streamed := streamOfCall("1", `{"x":1}`), streamOfText("2", "done")
	for _, tc := range []struct {
		name         string
		streams      bool
		status, kind string
		first        string // the provider's answer
		kinds, later string // the type of the next turn's, and it
		want         []string
	}{
		{"created", false, "201", "application/json", wholeCall, "application/json", wholeText, []string{`"mcp_call"`, `"done"`}},
		{"JSON as text", false, "200", "text/plain", wholeCall, "application/json", wholeText, []string{`"mcp_call"`, `"done"`}},
		{"JSON of no type", false, "200", "", wholeCall, "application/json", wholeText, []string{`"mcp_call"`, `"done"`}},
		{"a stream that nobody asked for", false, "200", "text/event-stream", stream, "", "", []string{"calls tools of this gateway"}},
		{"JSON in a stream's place", true, "200", "application/json", wholeCall, "application/json", wholeText, []string{`"mcp_call"`, `"done"`}},
		{"JSON in a stream's place, then a stream", true, "200", "application/json", wholeCall, "text/event-stream", streamed, []string{"server_error"}},
		{"JSON as a stream", true, "200", "text/event-stream", " \n" + wholeCall, "application/json", wholeText, []string{`"mcp_call"`, `"done"`}},
		{"JSON as a stream, without a call", true, "200", "text/event-stream", wholeText, "", "", []string{`"done"`}},
		{"JSON as a stream, then an error", true, "200", "text/event-stream", wholeCall, "text/event-stream", streamed, []string{"server_error"}},
		{"too much of it", true, "200", "text/event-stream", wholeCall + strings.Repeat(" ", 1<<20), "", "", []string{"event: error", "too long to be looked at"}},
		{"a stream as text", true, "200", "text/plain", stream, "text/plain", streamed, []string{"response.mcp_call.completed", `"done"`}},
		{"a stream of no type, created", true, "201", "", "\xef\xbb\xbf" + stream, "", streamed, []string{"response.mcp_call.completed", `"done"`}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				turns := 0
				r := rig{turns: func(*http.Request) (*http.Response, error) {
					turns++
					return served(200, tc.kinds, tc.later), nil
				}}
				r.start(t)
				defer r.stop()
				e := r.askFor(t.Context(), t, tc.streams, heads(":status", tc.status, "content-type", tc.kind))
				e.says(tc.first, true)
				got := e.everything()
				for _, want := range tc.want {
					require.Contains(t, got, want)
				}
				require.NotContains(t, got, "bmcp_demo_echo")
				if tc.later != "" {
					require.Equal(t, 1, turns)
				}
			})
		})
	}
}

// everything is what the client gets, in whatever way.
func (e *envoy) everything() string {
	var b strings.Builder
	for {
		m, err := e.stream.Recv()
		if errors.Is(err, io.EOF) {
			return b.String()
		}
		require.NoError(e.t, err)
		b.Write(m.GetImmediateResponse().GetBody())
		mutation := m.GetResponseBody().GetResponse().GetBodyMutation()
		b.Write(mutation.GetBody())
		b.Write(mutation.GetStreamedResponse().GetBody())
	}
}

// An error for which no key is to blame reaches the client with all that follows it.
func TestWhatFollowsAFirstErrorPasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r rig
		r.start(t)
		defer r.stop()
		e := r.ask(t.Context(), t, true)
		parts := []string{
			"data: {\"type\":\"error\",\"sequence_number\":0,\"code\":\"content_policy_violation\",\"message\":\"no\",\"param\":null}\n\n",
			": and then\n\n", "data: {\"type\":\"x.more\",\"sequence_number\":1}\n\n", "data: [DONE]\n\n",
		}
		for i, p := range parts {
			e.says(p, i == len(parts)-1)
		}
		out, _ := e.rest()
		e.ends()
		require.Equal(t, strings.Join(parts, ""), out)
	})
}
