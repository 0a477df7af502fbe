package agent_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/dialect"
)

// open is the session of the talk's request, with one tool.
func (talk talk) open(t *testing.T, streams bool) dialect.Session {
	t.Helper()
	request := talk.request
	if !streams {
		request = strings.Replace(request, `,"stream":true`, "", 1)
	}
	s := talk.dialect.Open(dialect.Request{Body: []byte(request)}, dialect.Options{
		Tools: []dialect.Tool{{Name: "bmcp_demo_echo", Server: "demo", Tool: "echo", Schema: []byte(`{"type":"object"}`)}},
	})
	require.NotNil(t, s)
	require.Equal(t, streams, s.Streams())
	return s
}

// TestRealSessions runs the loop with the dialects themselves: the client has one response in which the second turn follows the
// first, and the model has what the tool said.
func TestRealSessions(t *testing.T) {
	const used = "X-Keyturn-Used-Name"
	for name, talk := range talks() {
		t.Run(name+" streams", func(t *testing.T) {
			r := newRig(t, answer{body: talk.says, header: map[string]string{used: "k1"}})
			r.session, r.origin.Dialect = talk.open(t, true), talk.dialect
			out := r.run(t, talk.calls)
			require.NoError(t, talk.check([]byte(out)))
			require.Contains(t, out, talk.text)
			require.Len(t, r.got, 1)
			require.Contains(t, r.got[0], "echo{}", "the result")
			require.Contains(t, r.got[0], talk.callID)
			require.Equal(t, 2, r.report.Turns)
			require.Equal(t, 1, r.report.Calls)
			require.Equal(t, "k1", r.report.Key)
		})
		t.Run(name+" does not stream", func(t *testing.T) {
			r := newRig(t, answer{kind: "application/json", body: talk.wholeSays, header: map[string]string{used: "k1"}})
			r.session, r.origin.Dialect = talk.open(t, false), talk.dialect
			got, err := r.whole(t.Context(), r.agent(t), talk.wholeCalls)
			require.NoError(t, err)
			require.Nil(t, got)
			require.Empty(t, r.text())
			body := string(r.session.Body())
			require.True(t, json.Valid([]byte(body)))
			require.Contains(t, body, talk.text)
			require.Len(t, r.got, 1)
			require.Contains(t, r.got[0], "echo{}")
			require.Contains(t, r.got[0], talk.callID)
			require.Equal(t, dialect.Usage{Input: 20, Output: 4}, r.report.Usage)
		})
		t.Run(name+" fails at first", func(t *testing.T) {
			r := newRig(t, answer{body: talk.says})
			r.session, r.origin.Dialect, r.again = talk.open(t, true), talk.dialect, true
			require.Equal(t, talk.says, r.run(t, talk.fails), "nothing is seen of the turn that failed")
			require.Len(t, r.judged, 1)

			r = newRig(t)
			r.session, r.origin.Dialect = talk.open(t, true), talk.dialect
			require.Equal(t, talk.fails, r.run(t, talk.fails), "the client's to read")
			require.Empty(t, r.got)
		})
		t.Run(name+" is refused later", func(t *testing.T) {
			refused := answer{status: 429, kind: "application/json", body: `{"error":{"type":"rate_limit_error","code":"rate_limit_exceeded","message":"all keys rest"}}`}
			r := newRig(t, refused)
			r.session, r.origin.Dialect = talk.open(t, true), talk.dialect
			out := r.run(t, talk.calls)
			require.NoError(t, talk.check([]byte(out)))
			require.Contains(t, out, "all keys rest")

			r = newRig(t, refused)
			r.session, r.origin.Dialect = talk.open(t, false), talk.dialect
			got, err := r.whole(t.Context(), r.agent(t), talk.wholeCalls)
			require.NoError(t, err)
			require.Equal(t, 429, got.Status)
			require.Equal(t, refused.body, string(got.Body))
		})
		t.Run(name+" cannot go on", func(t *testing.T) {
			r := newRig(t, answer{err: fmt.Errorf("no such socket")})
			r.session, r.origin.Dialect = talk.open(t, false), talk.dialect
			got, err := r.whole(t.Context(), r.agent(t), talk.wholeCalls)
			require.NoError(t, err)
			require.Equal(t, 502, got.Status)
			e := dialect.ReadError(got.Status, got.Body)
			require.Equal(t, "api_error", e.Type, "in the dialect's form")
			require.Contains(t, e.Message, "loopback listener does not answer")
		})
	}
}
