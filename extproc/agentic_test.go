package extproc_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"github.com/stretchr/testify/require"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/keyturn/keyturn/extproc"
	"github.com/keyturn/keyturn/internal/dialect/check"
	"github.com/keyturn/keyturn/mcp"
)

// What a model says in one turn of Responses, as a stream and whole.

func events(kinds ...string) string {
	var b strings.Builder
	for i := 0; i < len(kinds); i += 2 {
		data := strings.Replace(kinds[i+1], "{", fmt.Sprintf(`{"type":%q,"sequence_number":%d,`, kinds[i], i/2), 1)
		fmt.Fprintf(&b, "event: %s\ndata: %s\n\n", kinds[i], data)
	}
	return b.String()
}

const (
	created = `{"response":{"id":"%[1]s","object":"response","created_at":1,"status":"in_progress","model":"m","output":[],"tools":[{"type":"function","name":"bmcp_demo_echo","parameters":{"type":"object"}}],"usage":null}}`
	tokens  = `"usage":{"input_tokens":10,"input_tokens_details":{"cached_tokens":0},"output_tokens":5,"output_tokens_details":{"reasoning_tokens":0},"total_tokens":15}`
)

func call(id, arguments string) string {
	return fmt.Sprintf(`{"id":"fc_%[1]s","type":"function_call","status":"completed","call_id":"call_%[1]s","name":"bmcp_demo_echo","arguments":%[2]q}`, id, arguments)
}

func message(id, text string) string {
	return fmt.Sprintf(`{"id":"msg_%s","type":"message","status":"completed","role":"assistant","content":[{"type":"output_text","text":%q,"annotations":[]}]}`, id, text)
}

func whole(id, item string) string {
	return fmt.Sprintf(`{"id":"resp_%s","object":"response","created_at":1,"status":"completed","model":"m","output":[%s],"tools":[],%s}`, id, item, tokens)
}

func streamOfCall(id, arguments string) string {
	return events("response.created", fmt.Sprintf(created, "resp_"+id),
		"response.output_item.added", fmt.Sprintf(`{"output_index":0,"item":{"id":"fc_%[1]s","type":"function_call","status":"in_progress","call_id":"call_%[1]s","name":"bmcp_demo_echo","arguments":""}}`, id),
		"response.function_call_arguments.done", fmt.Sprintf(`{"output_index":0,"item_id":"fc_%s","arguments":%q}`, id, arguments),
		"response.output_item.done", fmt.Sprintf(`{"output_index":0,"item":%s}`, call(id, arguments)),
		"response.completed", `{"response":`+whole(id, call(id, arguments))+`}`)
}

func streamOfText(id, text string) string {
	return events("response.created", fmt.Sprintf(created, "resp_"+id),
		"response.output_item.added", fmt.Sprintf(`{"output_index":0,"item":{"id":"msg_%s","type":"message","status":"in_progress","role":"assistant","content":[]}}`, id),
		"response.content_part.added", fmt.Sprintf(`{"output_index":0,"content_index":0,"item_id":"msg_%s","part":{"type":"output_text","text":"","annotations":[]}}`, id),
		"response.output_text.delta", fmt.Sprintf(`{"output_index":0,"content_index":0,"item_id":"msg_%s","delta":%q}`, id, text),
		"response.output_text.done", fmt.Sprintf(`{"output_index":0,"content_index":0,"item_id":"msg_%s","text":%q}`, id, text),
		"response.content_part.done", fmt.Sprintf(`{"output_index":0,"content_index":0,"item_id":"msg_%s","part":{"type":"output_text","text":%q,"annotations":[]}}`, id, text),
		"response.output_item.done", fmt.Sprintf(`{"output_index":0,"item":%s}`, message(id, text)),
		"response.completed", `{"response":`+whole(id, message(id, text))+`}`)
}

// turnsFunc answers the requests of later turns.
type turnsFunc func(*http.Request) (*http.Response, error)

func (f turnsFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// served is an answer as the loopback listener gives it: key k1 has served.
func served(statusCode int, kind, body string) *http.Response {
	h := http.Header{"Content-Type": {kind}, "X-Keyturn-Used-Pool": {"openai"}, "X-Keyturn-Used-Name": {"openai-2"}, "X-Keyturn-Used-Key": {"k1...ey"}}
	return &http.Response{StatusCode: statusCode, Header: h, Body: io.NopCloser(strings.NewReader(body))}
}

// untilGone is a body that ends with the request.
type untilGone struct{ ctx context.Context }

func (u untilGone) Read([]byte) (int, error) { <-u.ctx.Done(); return 0, u.ctx.Err() }
func (untilGone) Close() error               { return nil }

// rig is a server with one tool, and what the model says after the first turn.
type rig struct {
	call  func(ctx context.Context, arguments string) (string, error)
	turns turnsFunc
	log   syncBuffer
	most  int64 // of memory, in bytes

	server *extproc.Server
	conn   *grpc.ClientConn
	stop   func()
	reader *sdkmetric.ManualReader
}

// start starts what r has. Where it has nothing, the tool echoes and the second turn says "done".
func (r *rig) start(t testing.TB) {
	t.Helper()
	if r.call == nil {
		r.call = func(_ context.Context, arguments string) (string, error) { return "echo of " + arguments, nil }
	}
	if r.turns == nil {
		r.turns = func(*http.Request) (*http.Response, error) {
			return served(200, "text/event-stream", streamOfText("2", "done")), nil
		}
	}
	pool := openAI(t)
	pool.Tools = &extproc.Tools{Servers: []string{"demo"}}
	r.reader = sdkmetric.NewManualReader()
	s, err := extproc.NewWith(extproc.Config{
		Pools: []extproc.Pool{pool}, MaxMemory: r.most, MeterProvider: sdkmetric.NewMeterProvider(sdkmetric.WithReader(r.reader)),
		Log: slog.New(slog.NewTextHandler(&r.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}, extproc.Outside{
		Tools: []mcp.Tool{{ModelName: "bmcp_demo_echo", Server: "demo", Name: "echo", Schema: json.RawMessage(`{"type":"object"}`)}},
		Call: func(ctx context.Context, _, _ string, arguments json.RawMessage) (*mcp.Result, error) {
			text, err := r.call(ctx, string(arguments))
			if err != nil {
				return nil, err
			}
			return &mcp.Result{Content: []mcp.Content{{Text: text}}}, nil
		},
		Loopback: r.turns,
	})
	require.NoError(t, err)
	r.server = s
	r.conn, r.stop = connect(t, s)
}

// envoy plays Envoy's part of one attempt.
type envoy struct {
	t      testing.TB
	stream extprocv3.ExternalProcessor_ProcessClient
}

// ask begins an attempt and takes it to the response's head: its tools are in, and the provider has said 200.
func (r *rig) ask(ctx context.Context, t testing.TB, streams bool) *envoy {
	t.Helper()
	head := heads(":status", "200", "content-type", "application/json", "content-length", "500")
	if streams {
		head = heads(":status", "200", "content-type", "text/event-stream")
	}
	return r.askFor(ctx, t, streams, head)
}

// askFor is ask with the head of the provider's answer.
func (r *rig) askFor(ctx context.Context, t testing.TB, streams bool, head *corev3.HeaderMap) *envoy {
	t.Helper()
	e := &envoy{t: t, stream: open(ctx, t, r.conn)}
	e.send(&extprocv3.ProcessingRequest{
		Request: &extprocv3.ProcessingRequest_RequestHeaders{RequestHeaders: &extprocv3.HttpHeaders{Headers: heads(
			":authority", "api.openai.com", ":path", "/v1/responses", ":method", "POST", "content-type", "application/json", "authorization", "Bearer client-secret",
			"x-keyturn-pool", "openai", "x-keyturn-id", "one", "x-keyturn-client", "alice", "x-envoy-attempt-count", "1")}},
	})
	require.NotNil(t, e.recv().GetRequestHeaders())
	e.send(&extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_RequestBody{RequestBody: &extprocv3.HttpBody{
		Body: fmt.Appendf(nil, `{"model":"m","input":"a secret question","stream":%t}`, streams), EndOfStream: true,
	}}})
	require.Contains(t, string(e.recv().GetRequestBody().GetResponse().GetBodyMutation().GetBody()), "bmcp_demo_echo")
	e.send(&extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_ResponseHeaders{ResponseHeaders: &extprocv3.HttpHeaders{Headers: head}}})
	require.NotNil(t, e.recv().GetModeOverride())
	return e
}

func heads(pairs ...string) *corev3.HeaderMap {
	m := &corev3.HeaderMap{}
	for i := 0; i < len(pairs); i += 2 {
		m.Headers = append(m.Headers, &corev3.HeaderValue{Key: pairs[i], RawValue: []byte(pairs[i+1])})
	}
	return m
}

func (e *envoy) send(m *extprocv3.ProcessingRequest) {
	e.t.Helper()
	require.NoError(e.t, e.stream.Send(m))
}

// says sends the provider's next bytes.
func (e *envoy) says(body string, end bool) {
	e.t.Helper()
	e.send(&extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_ResponseBody{ResponseBody: &extprocv3.HttpBody{Body: []byte(body), EndOfStream: end}}})
}

func (e *envoy) recv() *extprocv3.ProcessingResponse {
	e.t.Helper()
	m, err := e.stream.Recv()
	require.NoError(e.t, err)
	return m
}

// rest is what the client gets until the response ends, and what the access log gets.
func (e *envoy) rest() (body string, log map[string]any) {
	e.t.Helper()
	var b strings.Builder
	for {
		m := e.recv()
		if m.GetResponseTrailers() != nil {
			return b.String(), told(m)
		}
		s := m.GetResponseBody().GetResponse().GetBodyMutation().GetStreamedResponse()
		require.NotNil(e.t, s, "%v", m)
		require.LessOrEqual(e.t, len(s.GetBody()), 64<<10)
		b.Write(s.GetBody())
		if s.GetEndOfStream() {
			return b.String(), told(m)
		}
	}
}

func told(m *extprocv3.ProcessingResponse) map[string]any {
	return m.GetDynamicMetadata().GetFields()["keyturn"].GetStructValue().AsMap()
}

// ends holds that the processor ends the stream by itself, without an error.
func (e *envoy) ends() {
	e.t.Helper()
	_, err := e.stream.Recv()
	require.ErrorIs(e.t, err, io.EOF)
}

// quiet holds that nothing of what clients, models and tools say, and no key, is in the log.
func (r *rig) quiet(t testing.TB) {
	t.Helper()
	for _, secret := range []string{"long-key", "client-secret", "secret question", "echo of", "done", `"x"`} {
		require.NotContains(t, r.log.String(), secret)
	}
}

func TestTwoTurns(t *testing.T) {
	for name, ending := range map[string]func(e *envoy){
		"end on the last piece": func(e *envoy) { e.says(streamOfCall("1", `{"x":1}`), true) },
		"end by itself":         func(e *envoy) { e.says(streamOfCall("1", `{"x":1}`), false); e.says("", true) },
		"trailers": func(e *envoy) {
			e.says(streamOfCall("1", `{"x":1}`), false)
			e.send(&extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_ResponseTrailers{ResponseTrailers: &extprocv3.HttpTrailers{}}})
		},
		"byte by byte": func(e *envoy) {
			for _, b := range []byte(streamOfCall("1", `{"x":1}`)) {
				e.says(string(b), false)
			}
			e.says("", true)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var r rig
				var got *http.Request
				var body []byte
				r.turns = func(req *http.Request) (*http.Response, error) {
					got = req
					var err error
					body, err = io.ReadAll(req.Body)
					return served(200, "text/event-stream", streamOfText("2", "done")), err
				}
				r.start(t)
				defer r.stop()
				e := r.ask(t.Context(), t, true)
				ending(e)
				out, log := e.rest()
				e.ends()
				require.NoError(t, check.Responses([]byte(out)))
				require.Contains(t, out, `"done"`)
				require.Contains(t, out, `echo of {\"x\":1}`)
				require.Equal(t, map[string]any{
					"turns": 2.0, "tool_calls": 1.0, "key": "k1...ey", "key_name": "openai-2", "key_id": "0dceb7824476af93",
					"llm_input_token": 20.0, "llm_output_token": 10.0, "llm_total_token": 30.0,
					"calls": `[["call_1","demo","echo",1,0,0,"ok"]]`, "sent": 1.0,
				}, log)
				require.Equal(t, "api.openai.com", got.Host)
				require.Equal(t, "/v1/responses", got.URL.RequestURI())
				require.Equal(t, "openai", got.Header.Get("X-Keyturn-Pool"))
				require.Equal(t, "alice", got.Header.Get("X-Keyturn-Client"))
				require.Equal(t, "2", got.Header.Get("X-Keyturn-Turn"))
				require.Equal(t, "m", got.Header.Get("X-Keyturn-Model"))
				require.Empty(t, got.Header.Get("Authorization"))
				require.Contains(t, string(body), "function_call_output")
				synctest.Wait()
				require.Equal(t, int64(1), counter(t, r.reader, "attempts", "ok"))
				r.quiet(t)
			})
		})
	}
}

// TestLargeMessage holds that a message of Envoy's with much of a stream in it is read and sent on piece by piece, whatever
// follows in it: nothing more, the call that ends the turn, or a failure.
func TestLargeMessage(t *testing.T) {
	const lines = 100_000
	silence := strings.Repeat(": so far\n\n", lines)
	for name, says := range map[string]func(e *envoy){
		"the call in it":    func(e *envoy) { e.says(silence+streamOfCall("1", `{"x":1}`), true) },
		"the call after it": func(e *envoy) { e.says(silence, false); e.says(streamOfCall("1", `{"x":1}`), true) },
		"a failure in it": func(e *envoy) {
			e.says("data: {\"type\":\"error\",\"sequence_number\":0,\"code\":\"rate_limit_exceeded\",\"message\":\"slow\",\"param\":null}\n\n"+silence, true)
		},
	} {
		t.Run(name, func(t *testing.T) {
			var r rig
			r.start(t)
			defer r.stop()
			e := r.ask(t.Context(), t, true)
			says(e)
			out, _ := e.rest() // which holds how large a piece is
			e.ends()
			require.NoError(t, check.Responses([]byte(out)))
			require.Contains(t, out, `"done"`)
			want := lines
			if strings.HasPrefix(name, "a failure") { // of a turn that is run again nothing is seen
				want = 0
			}
			require.Equal(t, want, strings.Count(out, ": so far\n"))
		})
	}
}

// TestErrorFirstTurnsKey holds that a failure within a 200 marks the key, and that the answer of the turn that ran again is the
// client's alone. The provider's stream may go on meanwhile: it ends before the client's does.
func TestErrorFirstTurnsKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r rig
		r.start(t)
		defer r.stop()
		e := r.ask(t.Context(), t, true)
		e.says("data: {\"type\":\"error\",\"sequence_number\":0,\"code\":\"rate_limit_exceeded\",\"message\":\"slow\",\"param\":null}\n\n", false)
		var out strings.Builder
		for !strings.Contains(out.String(), "response.completed") {
			s := e.recv().GetResponseBody().GetResponse().GetBodyMutation().GetStreamedResponse()
			require.False(t, s.GetEndOfStream())
			out.Write(s.GetBody())
		}
		for range 3 {
			e.says(": more of it\n\n", false)
		}
		ended := make(chan *extprocv3.ProcessingResponse, 1)
		go func() {
			m, _ := e.stream.Recv() // nil with an error
			ended <- m
		}()
		synctest.Wait()
		require.Empty(t, ended, "the provider's stream has not ended")
		e.says("", true)
		last := <-ended
		require.True(t, last.GetResponseBody().GetResponse().GetBodyMutation().GetStreamedResponse().GetEndOfStream())
		e.ends()
		require.NoError(t, check.Responses([]byte(out.String())))
		require.NotContains(t, out.String(), "slow")
		require.NotContains(t, out.String(), "more of it")
		require.Equal(t, 2.0, told(last)["turns"])
		require.Equal(t, int64(1), counter(t, r.reader, "key_pool_state_transitions", "rate_limited"))
		r.quiet(t)
	})
}

// TestKeepAlives holds that a client hears something every 10 s while a tool runs and while a turn thinks, to the instant.
func TestKeepAlives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r rig
		r.call = func(ctx context.Context, _ string) (string, error) {
			select {
			case <-time.After(35 * time.Second):
			case <-ctx.Done():
			}
			return "late", nil
		}
		r.turns = func(*http.Request) (*http.Response, error) {
			time.Sleep(25 * time.Second)
			return served(200, "text/event-stream", streamOfText("2", "done")), nil
		}
		r.start(t)
		defer r.stop()
		e := r.ask(t.Context(), t, true)
		began := time.Now()
		e.says(streamOfCall("1", `{"x":1}`), true)
		var heard []string
		var out strings.Builder
		for {
			s := e.recv().GetResponseBody().GetResponse().GetBodyMutation().GetStreamedResponse()
			what := "text"
			if bytes.HasPrefix(s.GetBody(), []byte(":")) {
				what = "keep-alive"
			}
			out.Write(s.GetBody())
			if s.GetEndOfStream() {
				break
			}
			heard = append(heard, fmt.Sprintf("%v %s", time.Since(began), what))
		}
		require.NoError(t, check.Responses([]byte(out.String())))
		require.Equal(t, []string{
			"0s text", "10s keep-alive", "20s keep-alive", "30s keep-alive", "35s text", "45s keep-alive", "55s keep-alive", "1m0s text",
		}, heard)
		e.ends()
	})
}

// TestClientGoneWithTools holds that the tool, or the turn, hears at once of a client that has left, and that nothing is logged as
// an error or goes on.
func TestClientGoneWithTools(t *testing.T) {
	for _, streams := range []bool{true, false} {
		first := whole("1", call("1", `{"x":1}`))
		if streams {
			first = streamOfCall("1", `{"x":1}`)
		}
		run := func(name string, r *rig, heard <-chan time.Time) {
			t.Run(fmt.Sprintf("%s stream=%t", name, streams), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r.start(t)
					defer r.stop()
					ctx, leave := context.WithCancel(t.Context())
					e := r.ask(ctx, t, streams)
					e.says(first, true)
					time.Sleep(5 * time.Second)
					synctest.Wait()
					left := time.Now()
					leave()
					require.Zero(t, (<-heard).Sub(left))
					synctest.Wait()
					require.Zero(t, gauge(t, r.reader, "streams"))
					require.NotContains(t, r.log.String(), "ERROR")
					require.NotContains(t, r.log.String(), "WARN")
				})
			})
		}
		tool := make(chan time.Time, 1)
		run("during a tool", &rig{call: func(ctx context.Context, _ string) (string, error) {
			<-ctx.Done()
			tool <- time.Now()
			return "", &mcp.Error{Kind: mcp.Canceled}
		}}, tool)
		sent := make(chan time.Time, 1)
		run("before a turn answers", &rig{turns: func(req *http.Request) (*http.Response, error) {
			<-req.Context().Done()
			sent <- time.Now()
			return nil, req.Context().Err()
		}}, sent)
		reading := make(chan time.Time, 1)
		run("during a turn", &rig{turns: func(req *http.Request) (*http.Response, error) {
			context.AfterFunc(req.Context(), func() { reading <- time.Now() })
			resp := served(200, "text/event-stream", "")
			if !streams {
				resp = served(200, "application/json", "")
			}
			resp.Body = untilGone{req.Context()}
			return resp, nil
		}}, reading)
	}
}

// TestShutdownWithTurns holds that responses under way have their time to end, and are cut when it is over.
func TestShutdownWithTurns(t *testing.T) {
	for _, tc := range []struct {
		name string
		tool time.Duration
		took time.Duration
		want error
	}{
		{"in time", 20 * time.Second, 20 * time.Second, nil},
		{"too long", time.Hour, 30 * time.Second, context.DeadlineExceeded},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ended := make(chan error, 1)
				r := rig{call: func(ctx context.Context, _ string) (string, error) {
					select {
					case <-time.After(tc.tool):
						ended <- nil
						return "late", nil
					case <-ctx.Done():
						ended <- ctx.Err()
						return "", ctx.Err()
					}
				}}
				r.start(t)
				e := r.ask(t.Context(), t, true)
				e.says(streamOfCall("1", `{"x":1}`), true)
				synctest.Wait()
				began, done := time.Now(), make(chan error, 1)
				go func() {
					ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
					defer cancel()
					done <- r.server.Shutdown(ctx)
				}()
				if tc.want == nil {
					out, _ := e.rest()
					require.NoError(t, check.Responses([]byte(out)))
					e.ends()
					require.NoError(t, <-ended)
				} else {
					require.ErrorIs(t, <-ended, context.Canceled)
				}
				require.ErrorIs(t, <-done, tc.want)
				require.Equal(t, tc.took, time.Since(began))
				r.stop()
			})
		})
	}
}

// TestProcessorFails holds that what goes wrong in one response is its own, and that the client sees a reset: an end without an
// error would pass for the whole response.
func TestProcessorFails(t *testing.T) {
	run := func(name string, r *rig, code codes.Code, logged string, further func(e *envoy)) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r.start(t)
				defer r.stop()
				e := r.ask(t.Context(), t, true)
				e.says(streamOfCall("1", `{"x":1}`), further == nil)
				if further != nil {
					further(e)
				}
				err := error(nil)
				for err == nil {
					_, err = e.stream.Recv()
				}
				require.Equal(t, code, status.Code(err), "%v", err)
				require.Contains(t, r.log.String(), logged)
				synctest.Wait()
				require.Zero(t, gauge(t, r.reader, "streams"))
				r.call = func(context.Context, string) (string, error) { return "well", nil }
				good := r.ask(t.Context(), t, true) // others go on
				good.says(streamOfText("1", "done"), true)
				out, _ := good.rest()
				require.NoError(t, check.Responses([]byte(out)))
			})
		})
	}
	run("a tool panics", &rig{call: func(context.Context, string) (string, error) { panic("a bug") }}, codes.Internal, "a bug", nil)
	run("a turn panics", &rig{turns: func(*http.Request) (*http.Response, error) { panic("a bug") }}, codes.Internal, "a bug", nil)
	run("Envoy's message does not fit", &rig{}, codes.InvalidArgument, "response headers in the body", func(e *envoy) {
		e.send(&extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_ResponseHeaders{ResponseHeaders: &extprocv3.HttpHeaders{Headers: heads(":status", "200")}}})
	})
}

// TestWholeAnswer holds that a response that does not stream gets its time from Envoy, and one body or the true status.
func TestWholeAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answer := served(200, "application/json", whole("2", message("2", "done"))) //nolint:bodyclose // the agent closes it
		r := rig{turns: func(*http.Request) (*http.Response, error) {
			time.Sleep(10 * time.Minute)
			return answer, nil
		}}
		r.start(t)
		defer r.stop()
		turn := func() *extprocv3.ProcessingResponse {
			e := r.ask(t.Context(), t, false)
			e.says(whole("1", call("1", `{"x":1}`)), true)
			require.Equal(t, time.Hour, e.recv().GetOverrideMessageTimeout().AsDuration())
			m := e.recv()
			e.ends()
			return m
		}
		got := turn()
		body := got.GetResponseBody().GetResponse()
		require.Equal(t, fmt.Sprint(len(body.GetBodyMutation().GetBody())), string(body.GetHeaderMutation().GetSetHeaders()[0].GetHeader().GetRawValue()))
		require.Contains(t, string(body.GetBodyMutation().GetBody()), `"mcp_call"`)
		require.Contains(t, string(body.GetBodyMutation().GetBody()), `"done"`)
		require.Equal(t, 2.0, told(got)["turns"])

		answer = served(429, "application/json", `{"error":{"code":"rate_limit_exceeded"}}`) //nolint:bodyclose // the agent closes it
		answer.Header.Set("Retry-After", "3")
		failed := turn().GetImmediateResponse()
		require.Equal(t, int32(429), int32(failed.GetStatus().GetCode()))
		require.JSONEq(t, `{"error":{"code":"rate_limit_exceeded"}}`, string(failed.GetBody()))
		require.Equal(t, map[string]string{
			"content-type": "application/json", "retry-after": "3",
			"x-keyturn-used-pool": "openai", "x-keyturn-used-name": "openai-1", "x-keyturn-used-key": "k0...ey", "x-should-retry": "false",
		}, sets(failed.GetHeaders()))
		r.quiet(t)
	})
}

// TestManyConversationsAtOnce is for the race detector, and for buffers that are used twice: each client gets its own text back,
// through its own tool.
func TestManyConversationsAtOnce(t *testing.T) {
	r := rig{}
	r.turns = func(req *http.Request) (*http.Response, error) {
		b, err := io.ReadAll(req.Body)
		if err != nil {
			return nil, err
		}
		_, after, _ := strings.Cut(string(b), "echo of")
		_, after, _ = strings.Cut(after, "name")
		name, _, _ := strings.Cut(after, "end")
		return served(200, "text/event-stream", streamOfText("2", strings.Repeat("name"+name+"end ", 2000))), nil
	}
	r.start(t)
	defer r.stop()
	t.Run("all", func(t *testing.T) {
		for i := range 8 {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				for j := range 10 {
					name := fmt.Sprintf("name-%d-%d-end", i, j)
					e := r.ask(t.Context(), t, true)
					text := streamOfCall("1", fmt.Sprintf(`{"x":%q}`, name))
					e.says(text[:len(text)/2], false)
					e.says(text[len(text)/2:], false)
					e.says("", true)
					out, _ := e.rest()
					require.NoError(t, check.Responses([]byte(out)))
					require.GreaterOrEqual(t, strings.Count(out, name), 3*2000)
					require.Equal(t, strings.Count(out, "-end "), strings.Count(out, name+" "), "another's text")
				}
			})
		}
	})
}

// TestLaterTurnsAreBounded holds that what later turns send is bounded, and ends with an error that the client reads: Envoy would take
// in all of it for a client that does not.
func TestLaterTurnsAreBounded(t *testing.T) {
	const most, over = 8 << 20, 1 << 20
	synctest.Test(t, func(t *testing.T) {
		var long strings.Builder
		for n := range 300 {
			fmt.Fprintf(&long, "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"sequence_number\":%d,"+
				"\"output_index\":0,\"content_index\":0,\"item_id\":\"msg_2\",\"delta\":%q}\n\n", n+3, strings.Repeat("w", 40<<10))
		}
		head, tail, found := strings.Cut(streamOfText("2", "done"), "event: response.output_text.delta")
		require.True(t, found)
		r := rig{turns: func(*http.Request) (*http.Response, error) {
			return served(200, "text/event-stream", head+long.String()+"event: response.output_text.delta"+tail), nil
		}}
		r.start(t)
		defer r.stop()
		for range 2 { // what one has taken is given back
			e := r.ask(t.Context(), t, true)
			e.says(streamOfCall("1", `{"x":1}`), true)
			out, _ := e.rest()
			e.ends()
			require.NoError(t, check.Responses([]byte(out)))
			require.Contains(t, out[len(out)-1000:], `"code":"response_too_large"`)
			require.Greater(t, len(out), most)
			require.Less(t, len(out), most+over)
		}
		require.Contains(t, r.log.String(), "later turns are more than Envoy can hold")
		require.Equal(t, int64(2), counter(t, r.reader, "turns", "response_too_large"))
		r.quiet(t)
	})
	t.Run("a result of a tool", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			n := 0
			r := rig{call: func(context.Context, string) (string, error) { return strings.Repeat("\x01", 1<<20), nil }} // each byte is six in JSON
			r.turns = func(*http.Request) (*http.Response, error) {
				n++
				return served(200, "text/event-stream", streamOfCall(fmt.Sprint(n+1), `{"x":1}`)), nil
			}
			r.start(t)
			defer r.stop()
			e := r.ask(t.Context(), t, true)
			e.says(streamOfCall("1", `{"x":1}`), true)
			out, _ := e.rest()
			e.ends()
			require.True(t, strings.HasSuffix(out, "\n\n"))
			require.Contains(t, out[len(out)-1000:], `"code":"response_too_large"`)
			require.Less(t, len(out), most+over)
			require.Equal(t, 1, n)
		})
	})
}
