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
	"github.com/keyturn/keyturn/keypool"
	"github.com/keyturn/keyturn/mcp"
)

// benchTools is a pool with ten tools, as they are offered.
func benchTools(b *testing.B) (*poolSet, []dialect.Tool) {
	b.Helper()
	pool, err := keypool.New([]string{"k0-long-key", "k1-long-key"}, quartz.NewReal())
	require.NoError(b, err)
	m, err := newMetrics(noop.NewMeterProvider(), func() *poolSet { return nil })
	require.NoError(b, err)
	pools, err := newPoolSet([]Pool{{
		Keys: pool, Clusters: []string{"openai"}, Header: "authorization", Scheme: "Bearer", Tools: &Tools{Servers: []string{"demo"}},
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
func handled(b *testing.B, x *exchange, m *message, data mem.BufferSlice, now time.Time) due {
	if err := m.unmarshal(data); err != nil {
		b.Fatal(err)
	}
	d, err := x.handle(m, now)
	if err != nil {
		b.Fatal(err)
	}
	if d == answer {
		wire := x.out.marshal()
		wire.Free()
	}
	return d
}

// beginTools is an attempt whose request has its body yet to come.
func beginTools(b *testing.B, x *exchange, pools *poolSet, tools []dialect.Tool) {
	x.clear()
	x.begin(pools, promiseBuffered, defaultMaxBody)
	attributes, err := structpb.NewStruct(map[string]any{"xds.cluster_name": "openai"})
	require.NoError(b, err)
	handled(b, x, &message{}, encoded(b, &extprocv3.ProcessingRequest{
		Request:    &extprocv3.ProcessingRequest_RequestHeaders{RequestHeaders: &extprocv3.HttpHeaders{Headers: headerMap("", ":path: /v1/responses", ":method: POST")}},
		Attributes: map[string]*structpb.Struct{"envoy.filters.http.ext_proc": attributes},
	}), time.Now())
	x.offered = tools
}

// BenchmarkStreamChunk is one chunk of a stream, 1 KB with four events, from the bytes of Envoy's message to those of the reply.
// gRPC's own work around it is not in it.
func BenchmarkStreamChunk(b *testing.B) {
	pools, tools := benchTools(b)
	now := time.Now()
	var x exchange
	beginTools(b, &x, pools, tools)
	m := &message{}
	handled(b, &x, m, encoded(b, &extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_RequestBody{RequestBody: &extprocv3.HttpBody{
		Body: []byte(`{"model":"m","input":"hi","stream":true}`), EndOfStream: true,
	}}}), now)
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
		if handled(b, &x, m, chunk, now) != piece {
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
		beginTools(b, &x, pools, tools)
		b.StartTimer()
		if handled(b, &x, m, request, now) != answer || x.session == nil {
			b.Fatal("no session")
		}
	}
}
