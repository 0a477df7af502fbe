package extproc

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/quartz"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"github.com/keyturn/keyturn/internal/dialect"
	"github.com/keyturn/keyturn/internal/wire"
	"github.com/keyturn/keyturn/keypool"
	"github.com/keyturn/keyturn/mcp"
)

// theKey stands for the pool's key in what a hostile provider says.
const theKey = "k0-long-key-0123456789"

// talk is a gRPC stream whose messages are all there.
type talk struct {
	grpc.ServerStream
	ctx context.Context
	in  [][]byte
	out [][]byte
}

func (s *talk) Context() context.Context { return s.ctx }

func (s *talk) RecvMsg(v any) error {
	if len(s.in) == 0 {
		return io.EOF
	}
	b := bytes.Clone(s.in[0])
	s.in = s.in[1:]
	return newCodec().Unmarshal(mem.BufferSlice{mem.SliceBuffer(b)}, v)
}

func (s *talk) SendMsg(v any) error {
	data, err := newCodec().Marshal(v)
	s.out = append(s.out, bytes.Clone(data.Materialize()))
	data.Free()
	return err
}

// providerSays is what a provider answers to each dialect, whole and as a stream: a call of the tool, and the key.
var providerSays = map[string][2]string{
	"/v1/responses": {
		`{"id":"r","status":"completed","output":[{"type":"function_call","id":"f","call_id":"c","name":"bmcp_demo_echo","arguments":"{\"k\":\"KEY\"}"}]}`,
		"data: {\"type\":\"response.created\",\"response\":{\"id\":\"r\",\"output\":[]}}\n\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\"KEY\"}\n\n" +
			"data: {\"type\":\"response.completed\",\"response\":{\"id\":\"r\",\"status\":\"completed\",\"output\":[{\"type\":\"function_call\",\"id\":\"f\",\"call_id\":\"c\",\"name\":\"bmcp_demo_echo\",\"arguments\":\"{}\"}]}}\n\n",
	},
	"/v1/chat/completions": {
		`{"choices":[{"index":0,"finish_reason":"tool_calls","message":{"role":"assistant","content":"KEY","tool_calls":[{"id":"c","type":"function","function":{"name":"bmcp_demo_echo","arguments":"{}"}}]}}]}`,
		"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"KEY\",\"tool_calls\":[{\"index\":0,\"id\":\"c\",\"function\":{\"name\":\"bmcp_demo_echo\",\"arguments\":\"{}\"}}]}}]}\n\n" +
			"data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"tool_calls\"}]}\n\ndata: [DONE]\n\n",
	},
	"/v1/messages": {
		`{"type":"message","id":"m","role":"assistant","stop_reason":"tool_use","content":[{"type":"text","text":"KEY"},{"type":"tool_use","id":"c","name":"bmcp_demo_echo","input":{}}]}`,
		"event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"content\":[]}}\n\nevent: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"tool_use\",\"id\":\"c\",\"name\":\"bmcp_demo_echo\",\"input\":{}}}\n\n" +
			"event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\nevent: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"tool_use\"}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
	},
}

var saidPaths = []string{"/v1/responses", "/v1/chat/completions", "/v1/messages"}

// wholeServer is a server whose later turns, and their answers, are what the test says.
func wholeServer(t testing.TB, next func(*http.Request) (*http.Response, error)) *Server {
	t.Helper()
	offered := []mcp.Tool{{ModelName: mcp.ModelName("demo", "echo"), Server: "demo", Name: "echo", Schema: json.RawMessage(`{"type":"object"}`)}}
	s, err := newServer(Config{Pools: nil}, &outside{
		tools: func(context.Context, []string) []mcp.Tool { return offered },
		call: func(_ context.Context, _, _ string, arguments json.RawMessage) (*mcp.Result, error) {
			require.NotContains(t, string(arguments), theKey, "a tool's server reads the key")
			return &mcp.Result{}, nil
		},
		loopback: tripper(next), close: func() {},
	})
	require.NoError(t, err)
	return s
}

type tripper func(*http.Request) (*http.Response, error)

func (f tripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// FuzzWholeExchanges drives the loop of a stream with messages of any content in any order, in each dialect, with a tool and its later turns: there
// is no panic, nothing is sent after the end, the key stands in nothing but the request's credential, and what is sent is bounded.
func FuzzWholeExchanges(f *testing.F) {
	for i := range saidPaths {
		for _, stream := range []bool{false, true} {
			f.Add(uint8(i), stream, []byte{0, 3, 4, 6, 7}, uint16(40), "200", "", "KEY")
			f.Add(uint8(i), stream, []byte{0, 3, 4, 7}, uint16(5000), "200", "", "%6b0-long-key-0123456789")
			f.Add(uint8(i), stream, []byte{0, 3, 4, 7}, uint16(9), "400", `{"error":{"message":"KEY"}}`, "x")
			f.Add(uint8(i), stream, []byte{0, 3, 4, 6, 11}, uint16(77), "200", "data: KEY\n\ndata: [DONE]\n\n", "x")
		}
	}
	var answer string
	var kind string
	server := wholeServer(f, func(*http.Request) (*http.Response, error) {
		return &http.Response{
			StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {kind}, http.CanonicalHeaderKey(wire.UsedNameHeader): {"gemini-1"}}, Body: io.NopCloser(strings.NewReader(answer)),
		}, nil
	})
	f.Fuzz(func(t *testing.T, which uint8, stream bool, order []byte, cut uint16, status, other, header string) {
		path := saidPaths[int(which)%len(saidPaths)]
		kind = "application/json"
		answer = providerSays[path][0]
		if stream {
			kind, answer = "text/event-stream", providerSays[path][1]
		}
		if other != "" {
			answer = other
		}
		answer = strings.ReplaceAll(answer, "KEY", theKey)
		header = strings.ToValidUTF8(strings.ReplaceAll(header, "KEY", theKey), "")
		if len(order) > 64 || len(answer) > 64<<10 {
			return
		}
		keys, err := keypool.NewPool(named("gemini", theKey), quartz.NewReal())
		require.NoError(t, err)
		require.NoError(t, server.SetPools([]Pool{{
			Keys: keys, Cluster: "c", Header: "authorization", Scheme: "Bearer", Provider: "gemini", MaxBody: 1 << 20,
			Tools: &Tools{Servers: []string{"demo"}, Turns: 3, Calls: 4, Memory: -1},
		}}))
		s := &talk{ctx: t.Context()}
		put := func(r *extprocv3.ProcessingRequest) {
			b, err := proto.Marshal(r)
			require.NoError(t, err)
			s.in = append(s.in, b)
		}
		request := fmt.Sprintf(`{"model":"m","input":"x","messages":[{"role":"user","content":"x"}],"max_tokens":9,"stream":%t}`, stream)
		rest, read := []byte(answer), 0
		for _, o := range order {
			last := o&1 == 1
			switch kinds[int(o>>1)%len(kinds)] {
			case requestHeaders:
				put(&extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_RequestHeaders{RequestHeaders: &extprocv3.HttpHeaders{EndOfStream: last, Headers: headersOf(
					":method", "POST", ":path", path, "content-type", "application/json", wire.PoolHeader, "gemini", wire.IDHeader, "id", wire.AttemptHeader, "1", wire.RetriesHeader, "1",
				)}}})
			case requestBody:
				put(&extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_RequestBody{RequestBody: &extprocv3.HttpBody{Body: []byte(request), EndOfStream: last}}})
			case responseHeaders:
				put(&extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_ResponseHeaders{ResponseHeaders: &extprocv3.HttpHeaders{EndOfStream: last, Headers: headersOf(
					":status", status, "content-type", kind, "x-request-id", header, "location", header, "x-echo", theKey,
				)}}})
			case responseBody:
				piece := rest
				if !last {
					piece = rest[:min(int(cut), len(rest))]
				}
				rest = rest[len(piece):]
				read += len(piece)
				put(&extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_ResponseBody{ResponseBody: &extprocv3.HttpBody{Body: piece, EndOfStream: last}}})
			case requestTrailers:
				put(&extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_RequestTrailers{RequestTrailers: &extprocv3.HttpTrailers{}}})
			case responseTrailers:
				put(&extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_ResponseTrailers{ResponseTrailers: &extprocv3.HttpTrailers{}}})
			case unknownMessage:
				put(&extprocv3.ProcessingRequest{})
			}
		}
		_ = server.process(s)
		bounded(t, s.out, len(request)+read+4*len(answer)+len(header))
	})
}

// headersOf is a HeaderMap of names and values.
func headersOf(pairs ...string) *corev3.HeaderMap {
	m := &corev3.HeaderMap{}
	for i := 0; i < len(pairs); i += 2 {
		m.Headers = append(m.Headers, &corev3.HeaderValue{Key: pairs[i], RawValue: []byte(pairs[i+1])})
	}
	return m
}

// bounded holds what is true of all that was sent, where so many bytes came.
func bounded(t *testing.T, out [][]byte, came int) {
	t.Helper()
	size, over := 0, false
	for _, b := range out {
		var r extprocv3.ProcessingResponse
		require.NoError(t, proto.Unmarshal(b, &r))
		require.False(t, over, "sent after the end: %v", &r)
		size += len(b)
		over = r.GetImmediateResponse() != nil || r.GetResponseBody().GetResponse().GetBodyMutation().GetStreamedResponse().GetEndOfStream()
		for _, changes := range []*extprocv3.HeaderMutation{r.GetRequestHeaders().GetResponse().GetHeaderMutation(), r.GetRequestBody().GetResponse().GetHeaderMutation()} {
			for _, h := range changes.GetSetHeaders() {
				if h.GetHeader().GetKey() == "authorization" {
					h.Header.RawValue = nil
				}
			}
		}
		plain, err := proto.Marshal(&r)
		require.NoError(t, err)
		require.NotContains(t, string(plain), theKey)
	}
	require.LessOrEqual(t, size, 64*came+64<<10)
}

// TestWholeExchangesAreOfEveryDialect: a new dialect has its row.
func TestWholeExchangesAreOfEveryDialect(t *testing.T) {
	seen := map[dialect.Dialect]bool{}
	for _, path := range saidPaths {
		require.NotEmpty(t, providerSays[path])
		require.NotNil(t, dialect.Of(path))
		seen[dialect.Of(path)] = true
	}
	require.Len(t, seen, len(saidPaths))
	require.Len(t, providerSays, len(saidPaths))
}
