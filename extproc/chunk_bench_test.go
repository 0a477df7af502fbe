package extproc

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/coder/quartz"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/metric/noop"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/keyturn/keyturn/internal/dialect"
	"github.com/keyturn/keyturn/internal/wire"
	"github.com/keyturn/keyturn/keypool"
	"github.com/keyturn/keyturn/mcp"
)

// benchTools is a pool with ten tools, as they are offered.
func benchTools(b *testing.B) (*poolSet, []dialect.Tool) {
	b.Helper()
	cfg := named("openai", "k0-long-key", "k1-long-key")
	cfg.Policy.Rules = []keypool.Rule{{Status: 529, Action: keypool.NextKey}}
	pool, err := keypool.NewPool(cfg, quartz.NewReal())
	require.NoError(b, err)
	m, err := newMetrics(noop.NewMeterProvider(), func() *poolSet { return nil })
	require.NoError(b, err)
	pools, err := newPoolSet([]Pool{{
		Keys: pool, Cluster: "openai", Header: "authorization", Scheme: "Bearer", Tools: &Tools{Servers: []string{"demo"}},
	}}, m, newMemories(quartz.NewReal()))
	require.NoError(b, err)
	var tools []dialect.Tool
	for i := range 10 {
		name := fmt.Sprint("tool", i)
		tools = append(tools, dialect.Tool{
			Name: mcp.ModelName("demo", name), Server: "demo", Tool: name, Description: strings.Repeat("what it does ", 20),
			Schema: []byte(`{"type":"object","properties":{"text":{"type":"string","description":"` + strings.Repeat("a text ", 30) + `"}},"required":["text"]}`),
		})
	}
	return pools, tools
}

// encoded is r as Envoy sends it.
func encoded(b *testing.B, r *extprocv3.ProcessingRequest) mem.BufferSlice {
	b.Helper()
	wire, err := proto.Marshal(r)
	require.NoError(b, err)
	return mem.BufferSlice{mem.SliceBuffer(wire)}
}

// handled hands a message to x, and gives the answer away as the transport does.
func handled(b *testing.B, x *exchange, m *message, data mem.BufferSlice, now time.Time, offered ...dialect.Tool) due {
	if err := m.unmarshal(data); err != nil {
		b.Fatal(err)
	}
	d, err := x.handle(m, now)
	if err != nil {
		b.Fatal(err)
	}
	if d == dueTools {
		x.putTools(m, offered, dialect.Without{})
		d = dueReply
	}
	if d == dueReply {
		wire := x.out.marshal()
		wire.Free()
	}
	return d
}

// beginTools is an attempt whose request has its body yet to come.
func beginTools(b *testing.B, x *exchange, pools *poolSet) {
	x.clear()
	x.begin(pools, defaultMaxRetry)
	m := &message{}
	wire := encoded(b, &extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_RequestHeaders{RequestHeaders: &extprocv3.HttpHeaders{
		Headers: headerMap("", ":path: /v1/responses", ":method: POST", wire.PoolHeader+": openai"),
	}}})
	require.NoError(b, m.unmarshal(wire))
	x.front = readFront(m)
	handled(b, x, m, wire, time.Now())
}

// BenchmarkStreamChunk is one chunk of a stream, 1 KB with four events, from the bytes of Envoy's message to those of the reply.
// gRPC's own work around it is not in it.
func BenchmarkStreamChunk(b *testing.B) {
	pools, tools := benchTools(b)
	now := time.Now()
	var x exchange
	beginTools(b, &x, pools)
	m := &message{}
	handled(b, &x, m, encoded(b, &extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_RequestBody{RequestBody: &extprocv3.HttpBody{
		Body: []byte(`{"model":"m","input":"hi","stream":true}`), EndOfStream: true,
	}}}), now, tools...)
	handled(b, &x, m, encoded(b, &extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_ResponseHeaders{ResponseHeaders: &extprocv3.HttpHeaders{
		Headers: headerMap("", ":status: 200", "content-type: text/event-stream"),
	}}}), now)
	require.Equal(b, streaming, x.shape)
	var deltas strings.Builder
	for i := range 4 {
		fmt.Fprintf(&deltas, "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"sequence_number\":%d,\"item_id\":\"msg_1\","+
			"\"output_index\":0,\"content_index\":0,\"delta\":%q,\"logprobs\":[],\"obfuscation\":\"abcdefgh\"}\n\n", i, strings.Repeat("w", 40))
	}
	chunk := encoded(b, &extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_ResponseBody{ResponseBody: &extprocv3.HttpBody{Body: []byte(deltas.String())}}})
	b.SetBytes(int64(deltas.Len()))
	b.ReportAllocs()
	for b.Loop() {
		if handled(b, &x, m, chunk, now) != duePiece {
			b.Fatal("no piece")
		}
		x.out.chunk(x.chunk, false, nil)
		wire := x.out.marshal()
		wire.Free()
	}
	require.Equal(b, deltas.String(), string(x.chunk))
}

// BenchmarkRequestWithTools is a request of 100 KB that ten tools go into: its headers and its body.
func BenchmarkRequestWithTools(b *testing.B) {
	pools, tools := benchTools(b)
	now := time.Now()
	var x exchange
	m := &message{}
	var input strings.Builder
	for i := range 100 {
		fmt.Fprintf(&input, `%s{"type":"message","role":"user","content":%q}`, []string{"", ","}[min(i, 1)], strings.Repeat("word ", 190))
	}
	request := encoded(b, &extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_RequestBody{RequestBody: &extprocv3.HttpBody{
		Body: []byte(`{"model":"m","stream":true,"input":[` + input.String() + `]}`), EndOfStream: true,
	}}})
	b.SetBytes(int64(request.Len()))
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		x.finish()
		beginTools(b, &x, pools)
		b.StartTimer()
		if handled(b, &x, m, request, now, tools...) != dueReply || x.merged() == nil {
			b.Fatal("no session")
		}
	}
}

// benchHeads are the headers of an attempt's request and answer as Envoy sends them.
func benchHeads(b *testing.B, attempt int, status string) (request, response mem.BufferSlice) {
	b.Helper()
	attributes, err := structpb.NewStruct(map[string]any{"response.code_details": "via_upstream", "response.flags": 0})
	require.NoError(b, err)
	request = encoded(b, &extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_RequestHeaders{RequestHeaders: &extprocv3.HttpHeaders{Headers: headerMap("",
		":authority: gateway.example.com", ":path: /v1/responses", ":method: POST", ":scheme: https", "content-type: application/json", "content-length: 1024",
		"x-forwarded-proto: http", "x-request-id: 6e7a1f3c-0d5b-4f0e-9d4b-0f6a52f5c1aa", fmt.Sprintf("x-envoy-attempt-count: %d", attempt),
		"x-keyturn-id: 0c7b1c3e-5a58-4d5f-8a3e-0d8a5a4b8e21", "x-keyturn-start: 1793534400.000", "x-keyturn-pool: openai", "x-keyturn-retries: 18", "x-keyturn-client: alice",
	)}}})
	response = encoded(b, &extprocv3.ProcessingRequest{
		Request: &extprocv3.ProcessingRequest_ResponseHeaders{ResponseHeaders: &extprocv3.HttpHeaders{Headers: headerMap("",
			":status: "+status, "content-type: application/json", "content-length: 40", "x-ratelimit-remaining-requests: 100", "x-ratelimit-limit-requests: 200", "set-cookie: __cf_bm=abc",
		)}},
		Attributes: map[string]*structpb.Struct{"envoy.filters.http.ext_proc": attributes},
	})
	return request, response
}

// BenchmarkAnswer is an attempt with a good answer, from the bytes of Envoy's messages to those of the replies. gRPC's own work around
// it is not in it.
func BenchmarkAnswer(b *testing.B) {
	pools, _ := benchTools(b)
	pools.all[0].tools = nil
	trails, now := newTrails(quartz.NewReal()), time.Now()
	request, response := benchHeads(b, 1, "200")
	var x exchange
	m := &message{}
	b.ReportAllocs()
	for b.Loop() {
		x.begin(pools, defaultMaxRetry)
		x.opened(b, trails, m, request, now)
		handled(b, &x, m, response, now)
		x.finish()
		x.clear()
	}
}

// BenchmarkAnswerWithTools is an attempt whose small request gets ten tools and whose stream, of one chunk, calls none of them.
func BenchmarkAnswerWithTools(b *testing.B) {
	pools, tools := benchTools(b)
	trails, now := newTrails(quartz.NewReal()), time.Now()
	request, _ := benchHeads(b, 1, "200")
	body := encoded(b, &extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_RequestBody{RequestBody: &extprocv3.HttpBody{
		Body: []byte(`{"model":"m","input":"hi","stream":true}`), EndOfStream: true,
	}}})
	head := encoded(b, &extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_ResponseHeaders{ResponseHeaders: &extprocv3.HttpHeaders{
		Headers: headerMap("", ":status: 200", "content-type: text/event-stream"),
	}}})
	chunk := encoded(b, &extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_ResponseBody{ResponseBody: &extprocv3.HttpBody{
		Body: []byte("data: {\"type\":\"response.completed\",\"response\":{\"id\":\"resp_1\",\"status\":\"completed\",\"output\":[]}}\n\n"), EndOfStream: true,
	}}})
	var x exchange
	m := &message{}
	b.ReportAllocs()
	for b.Loop() {
		x.begin(pools, defaultMaxRetry)
		x.opened(b, trails, m, request, now)
		handled(b, &x, m, body, now, tools...)
		handled(b, &x, m, head, now)
		if handled(b, &x, m, chunk, now) != dueLastPiece {
			b.Fatal("not the last piece")
		}
		x.finish()
		x.clear()
	}
}

// BenchmarkTurn is a request whose first key fails and whose second does not.
func BenchmarkTurn(b *testing.B) {
	pools, _ := benchTools(b)
	pools.all[0].tools = nil
	trails, now := newTrails(quartz.NewReal()), time.Now()
	first, failed := benchHeads(b, 1, "529")
	second, good := benchHeads(b, 2, "200")
	body := encoded(b, &extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_ResponseBody{ResponseBody: &extprocv3.HttpBody{
		Body: []byte(`{"error":{"code":"overloaded_error","x":1}}`), EndOfStream: true,
	}}})
	var x exchange
	m, head := &message{}, &message{}
	b.ReportAllocs()
	for b.Loop() {
		x.begin(pools, defaultMaxRetry)
		x.opened(b, trails, m, first, now)
		handled(b, &x, head, failed, now)
		handled(b, &x, m, body, now)
		trails.leave(&x)
		if x.outcome != turned {
			b.Fatal(x.outcome)
		}
		x.awaiting = nil // or finish would take head
		x.finish()
		x.clear()
		x.begin(pools, defaultMaxRetry)
		x.opened(b, trails, m, second, now)
		handled(b, &x, m, good, now)
		x.finish()
		x.clear()
	}
}

// opened takes the request's headers, as the server does.
func (x *exchange) opened(b *testing.B, trails *trails, m *message, request mem.BufferSlice, now time.Time) {
	if err := m.unmarshal(request); err != nil {
		b.Fatal(err)
	}
	trails.follow(x, m)
	if d, err := x.handle(m, now); err != nil || d != dueReply {
		b.Fatal(d, err)
	}
	wire := x.out.marshal()
	wire.Free()
}
