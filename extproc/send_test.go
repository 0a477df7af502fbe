package extproc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/quartz"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"github.com/keyturn/keyturn/internal/agent"
	"github.com/keyturn/keyturn/internal/wire"
	"github.com/keyturn/keyturn/keypool"
	"github.com/keyturn/keyturn/mcp"
)

// played is a stream of which Envoy's messages are known before, and whose connection breaks.
type played struct {
	grpc.ServerStream
	ctx    context.Context
	in     []*extprocv3.ProcessingRequest
	breaks int // the number of the reply that cannot be sent, from 1; 0: none
	sent   int
	bodies [][]byte // the pieces of a stream that were sent
	ended  bool     // the last of them ended the stream
}

var errBroken = errors.New("the connection is broken")

func (p *played) Context() context.Context { return p.ctx }

func (p *played) RecvMsg(m any) error {
	if len(p.in) == 0 {
		return io.EOF
	}
	b, err := proto.Marshal(p.in[0])
	if err != nil {
		return err
	}
	p.in = p.in[1:]
	return m.(*message).unmarshal(mem.BufferSlice{mem.SliceBuffer(b)})
}

func (p *played) SendMsg(m any) error {
	b := m.(*reply).marshal()
	defer b.Free()
	if p.sent++; p.sent == p.breaks {
		return errBroken
	}
	var r extprocv3.ProcessingResponse
	if err := proto.Unmarshal(b.Materialize(), &r); err != nil {
		return err
	}
	if s := r.GetResponseBody().GetResponse().GetBodyMutation().GetStreamedResponse(); s != nil {
		p.bodies, p.ended = append(p.bodies, s.GetBody()), s.GetEndOfStream()
	}
	return nil
}

type turnsOf func() *http.Response

func (f turnsOf) RoundTrip(*http.Request) (*http.Response, error) { return f(), nil }

// TestBrokenSends holds that the attempt ends with the first reply that cannot be sent, whichever it is: nothing more is sent, and no
// tool runs for nobody.
func TestBrokenSends(t *testing.T) {
	answer := `{"id":"resp_2","status":"completed","output":[]}`
	for _, streams := range []bool{true, false} {
		kind, first, second := "application/json", callAnswer, answer
		if streams {
			kind, first = "text/event-stream", deltaEvent+callEvent
			second = deltaEvent + `data: {"type":"response.completed","response":` + answer + "}\n\n"
		}
		run := func(breaks int) (sent, calls int, err error) {
			pool, err := keypool.NewPool(named("openai", "k0-long-key"), quartz.NewReal())
			require.NoError(t, err)
			s, err := newServer(Config{Pools: []Pool{{Keys: pool, Cluster: "c", Header: "authorization", Tools: &Tools{Servers: []string{"demo"}}}}}, &outside{
				tools: func(context.Context, []string) []mcp.Tool {
					return []mcp.Tool{{ModelName: "bmcp_demo_echo", Server: "demo", Name: "echo", Schema: json.RawMessage(`{"type":"object"}`)}}
				},
				call: func(context.Context, string, string, json.RawMessage) (*mcp.Result, error) {
					calls++
					return &mcp.Result{}, nil
				},
				loopback: turnsOf(func() *http.Response {
					return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {kind}}, Body: io.NopCloser(strings.NewReader(second))}
				}),
			})
			require.NoError(t, err)
			stream := &played{ctx: t.Context(), breaks: breaks, in: []*extprocv3.ProcessingRequest{
				{Request: &extprocv3.ProcessingRequest_RequestHeaders{RequestHeaders: &extprocv3.HttpHeaders{
					Headers: headerMap("", ":path: /v1/responses", ":method: POST", wire.PoolHeader+": openai"),
				}}},
				{Request: &extprocv3.ProcessingRequest_RequestBody{RequestBody: &extprocv3.HttpBody{
					Body: fmt.Appendf(nil, `{"model":"m","input":"x","stream":%t}`, streams), EndOfStream: true,
				}}},
				{Request: &extprocv3.ProcessingRequest_ResponseHeaders{ResponseHeaders: &extprocv3.HttpHeaders{Headers: headerMap("", ":status: 200", "content-type: "+kind)}}},
				{Request: &extprocv3.ProcessingRequest_ResponseBody{ResponseBody: &extprocv3.HttpBody{Body: []byte(first), EndOfStream: true}}},
			}}
			err = s.process(stream)
			return stream.sent, calls, err
		}
		all, calls, err := run(0)
		require.NoError(t, err)
		require.Equal(t, 1, calls)
		require.GreaterOrEqual(t, all, 5)
		for breaks := 1; breaks <= all; breaks++ {
			sent, calls, err := run(breaks)
			require.ErrorIs(t, err, errBroken, "reply %d", breaks)
			require.Equal(t, breaks, sent)
			require.LessOrEqual(t, calls, max(breaks-4, 0), "the first turn's last reply is the fourth")
		}
	}
}

// TestChunks holds that every byte of a piece is sent once, in messages of at most 64 KiB, with the end of the stream on the last.
func TestChunks(t *testing.T) {
	for _, n := range []int{0, 1, maxChunk - 1, maxChunk, maxChunk + 1, 2 * maxChunk, 2*maxChunk + 1} {
		want := make([]byte, n)
		for i := range want {
			want[i] = byte(i * 7)
		}
		messages := (n + maxChunk - 1) / maxChunk
		sent := func(send func(*played) error) *played {
			p := &played{ctx: t.Context()}
			require.NoError(t, send(p))
			for _, b := range p.bodies {
				require.LessOrEqual(t, len(b), maxChunk)
			}
			require.True(t, bytes.Equal(want, bytes.Join(p.bodies, nil)), "%d bytes", n)
			return p
		}
		p := sent(func(p *played) error { return sendChunks(p, &reply{}, want) })
		require.Equal(t, messages, p.sent)
		require.False(t, p.ended)

		a := &attempt{}
		a.tools = &withTools{response: agent.Begin(nil, nil, agent.Limits{})}
		a.chunk = want
		s := &Server{}
		p = sent(func(p *played) error { return s.sendEnd(p, a) })
		require.Equal(t, max(messages, 1), p.sent)
		require.True(t, p.ended)
		a.tools.trailers = true
		p = sent(func(p *played) error { return s.sendEnd(p, a) })
		require.Equal(t, messages+1, p.sent, "the trailers are a message of their own")
		require.False(t, p.ended)
	}
}
