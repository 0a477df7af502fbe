package extproc_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"github.com/stretchr/testify/require"
)

// announce begins an attempt with a body of so many bytes.
func (r *rig) announce(t *testing.T, length, path string) *envoy {
	t.Helper()
	e := &envoy{t: t, stream: open(t.Context(), t, r.conn)}
	e.send(&extprocv3.ProcessingRequest{
		Request: &extprocv3.ProcessingRequest_RequestHeaders{RequestHeaders: &extprocv3.HttpHeaders{Headers: heads(
			":authority", "api.openai.com", ":path", path, ":method", "POST", "content-type", "application/json", "content-length", length,
			"x-keyturn-pool", "openai", "x-keyturn-id", "one", "x-keyturn-client", "alice", "x-envoy-attempt-count", "1")}},
	})
	return e
}

func (e *envoy) body(b string) {
	e.t.Helper()
	e.send(&extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_RequestBody{RequestBody: &extprocv3.HttpBody{Body: []byte(b), EndOfStream: true}}})
}

// busy holds that the client reads that there is no memory, and when to come again.
func (e *envoy) busy(form string) {
	e.t.Helper()
	m := e.recv().GetImmediateResponse()
	require.EqualValues(e.t, 503, m.GetStatus().GetCode())
	require.JSONEq(e.t, form, string(m.GetBody()))
	told := map[string]string{}
	for _, h := range m.GetHeaders().GetSetHeaders() {
		told[h.GetHeader().GetKey()] = string(h.GetHeader().GetRawValue())
	}
	require.Equal(e.t, "1", told["retry-after"])
	require.Equal(e.t, "memory_full", told["x-keyturn-error"])
	require.NotContains(e.t, told, "x-keyturn-retry")
	e.ends()
}

// TestNoMemoryForErrors: an error that there is no memory for is judged by its status, and is counted; those in work are few lines of the log.
func TestNoMemoryForErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := rig{most: 1 << 20}
		r.start(t)
		defer r.stop()
		first := r.announce(t, "190000", "/v1/responses")
		require.NotNil(t, first.recv().GetRequestHeaders())
		failing := func(status, length string) *extprocv3.ProcessingResponse {
			e := r.announce(t, "1000", "/v1/models")
			require.NotNil(t, e.recv().GetRequestHeaders())
			answer := answered(t, status, "via_upstream", 0)
			h := answer.GetResponseHeaders()
			h.EndOfStream = false
			h.Headers.Headers = append(h.Headers.Headers, heads("content-length", length).Headers...)
			e.send(answer)
			got := e.recv()
			require.NoError(t, e.stream.CloseSend())
			return got
		}
		require.NotNil(t, failing("400", "1000").GetModeOverride(), "a small one is read")
		for range 3 {
			got := failing("400", "250000")
			require.Nil(t, got.GetModeOverride(), "it is not asked for")
			require.NotNil(t, got.GetResponseHeaders())
		}
		began := time.Now()
		for range 20 {
			go r.announce(t, "250000", "/v1/responses").recv()
		}
		time.Sleep(3 * time.Second) // of the test's own clock
		require.Less(t, strings.Count(r.log.String(), "limits.memory"), 3+int(time.Since(began)/time.Second)+1)
		require.NoError(t, first.stream.CloseSend())
		first.ends()
		require.NotNil(t, failing("400", "250000").GetModeOverride(), "there is room again")
	})
}

const busyMessage = `"The gateway has no memory for the request at this moment: send it once more in a second."`

// TestNoMemory holds that bodies beyond the budget wait, and are refused in the dialect; and that all of it comes back.
func TestNoMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := rig{most: 1 << 20}
		r.start(t)
		defer r.stop()
		first := r.announce(t, "190000", "/v1/responses")
		require.NotNil(t, first.recv().GetRequestHeaders())

		began := time.Now()
		r.announce(t, "250000", "/v1/responses").busy(`{"error":{"code":"server_error","message":` + busyMessage + `,"param":"","type":"api_error"}}`)
		require.Equal(t, 2*time.Second, time.Since(began))
		r.announce(t, "250000", "/v1/messages").busy(`{"type":"error","error":{"message":` + busyMessage + `,"type":"api_error"},"request_id":""}`)
		small := r.announce(t, "1000", "/v1/responses") // for which there is room
		require.NotNil(t, small.recv().GetRequestHeaders())
		none := r.announce(t, "250000", "/v1/models") // whose body is not read
		require.NotNil(t, none.recv().GetRequestHeaders())
		require.NoError(t, none.stream.CloseSend())

		// A response keeps little more than its request.
		first.body(`{"model":"m","stream":true,"input":"` + strings.Repeat("x", 189_000) + `"}`)
		require.Contains(t, string(first.recv().GetRequestBody().GetResponse().GetBodyMutation().GetBody()), "bmcp_demo_echo")
		second := r.announce(t, "120000", "/v1/responses")
		require.NotNil(t, second.recv().GetRequestHeaders())

		// A body that is larger than was said asks for the rest, and one that comes late for all.
		time.Sleep(11 * time.Second) // of the test's own clock: none is waited for
		third := r.announce(t, "120000", "/v1/responses")
		require.NotNil(t, third.recv().GetRequestHeaders())
		second.body(`{"model":"m","input":"` + strings.Repeat("x", 119_000) + `"}`)
		second.busy(`{"error":{"code":"server_error","message":` + busyMessage + `,"param":"","type":"api_error"}}`)

		// One that leaves gives back what it has.
		for _, e := range []*envoy{first, third, small} {
			require.NoError(t, e.stream.CloseSend())
			e.ends()
		}
		last := r.announce(t, "1000000000", "/v1/responses")
		require.NotNil(t, last.recv().GetRequestHeaders())
		e := r.ask(t.Context(), t, true)
		e.says(streamOfText("1", "done"), true)
		body, _ := e.rest()
		require.Contains(t, body, "response.completed")
		require.Equal(t, 3, strings.Count(r.log.String(), "limits.memory"))
		r.quiet(t)
	})
}
