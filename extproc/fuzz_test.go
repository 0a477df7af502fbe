package extproc

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/quartz"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/metric/noop"
	"google.golang.org/protobuf/proto"

	"github.com/keyturn/keyturn/internal/dialect"
	"github.com/keyturn/keyturn/internal/wire"
	"github.com/keyturn/keyturn/keypool"
	"github.com/keyturn/keyturn/mcp"
)

// script is what a test of any order sends: bodies for the two directions, and the headers and attributes that decide most.
type script struct {
	order                                         []byte // of each message: its kind, and in the last bit whether it ends its direction
	path, status, request, response, name, header string
	details                                       string
	flags                                         uint64
	front                                         string // what the front says: attempt, retries, start, turn and client, with commas
}

const (
	deltaEvent = "data: {\"type\":\"response.output_text.delta\",\"delta\":\"hi\"}\n\n"
	callAnswer = `{"id":"resp_1","status":"completed","output":[{"type":"function_call","id":"fc_1","call_id":"c1","name":"bmcp_demo_echo","arguments":"{}","status":"completed"}]}`
	callEvent  = "data: {\"type\":\"response.completed\",\"response\":" + callAnswer + "}\n\n"
)

// scripts are some that come far.
var scripts = []script{
	{order: []byte{0, 2}, path: "/v1/responses", status: "429", response: `{"error":{"code":"insufficient_quota"}}`, name: "retry-after", header: "3", front: "1,5"},
	{order: []byte{0, 4, 7}, path: "/v1/responses", status: "429", response: "{}", name: "content-length", header: "2", front: "2,5,1.5"},
	{order: []byte{0, 1, 4, 3}, path: "/v1/files/x?key=1", status: "401", name: "upgrade", header: "websocket", front: "6,5,NaN"},
	{order: []byte{10, 12, 3, 3}, path: "/v1/messages", status: "400", response: "[", name: "content-length", header: "-1"},
	{order: []byte{1, 4, 7}, path: "/v1/messages", status: "503", response: "no", name: "x-request-id", header: "\xff", details: "upstream_reset_before_response_started{remote_connection_failure}", flags: 0x20, front: "1,5"},
	{order: []byte{1, 5}, path: "/", status: "503", name: "x-keyturn-retry", header: "1", details: "cluster_not_found", front: ",,,2,alice"},
	{order: []byte{0, 3, 4, 6, 7}, path: "/v1/responses", status: "200", request: `{"model":"m","input":"x","stream":true}`, response: deltaEvent, name: "content-type", header: "text/event-stream"},
	{order: []byte{0, 3, 4, 6, 11}, path: "/v1/responses", status: "200", request: `{"model":"m","input":"x","stream":true}`, response: callEvent, name: "content-type", header: "text/event-stream"},
	{order: []byte{0, 3, 4, 7}, path: "/v1/responses", status: "200", request: `{"model":"m","input":"x"}`, response: callAnswer, name: "content-type", header: "application/json"},
	{order: []byte{0, 3, 4, 7}, path: "/v1/chat/completions", status: "200", request: `{"model":"m","messages":[]}`, response: "{}", name: "content-type", header: "application/json"},
	{order: []byte{0, 3, 4, 6, 7}, path: "/v1/messages", status: "200", request: `{"model":"m","messages":[],"max_tokens":1,"stream":true}`, response: "event: error\ndata: {}\n\n", name: "content-type", header: "text/event-stream"},
	{order: []byte{0, 3, 4, 7}, path: "/v1/responses", status: "400", request: `{"model":"m","previous_response_id":"r"}`, response: `{"error":{"code":"previous_response_not_found"}}`, name: "content-type", header: "application/json"},
}

// stage is a pool with a tool that scripts are played on.
type stage struct {
	pools   *poolSet
	offered []dialect.Tool
	trails  *trails
}

func newStage(t testing.TB) *stage {
	t.Helper()
	pool, err := keypool.NewPool(named("gemini", "k0-long-key", "k1-long-key"), quartz.NewReal())
	require.NoError(t, err)
	metrics, err := newMetrics(noop.NewMeterProvider(), func() *poolSet { return nil })
	require.NoError(t, err)
	pools, err := newPoolSet([]Pool{{
		Keys: pool, Cluster: "c", Header: "authorization", Scheme: "Bearer", Provider: "gemini", Schemas: GeminiSchemas, MaxBody: 1 << 20, Tools: &Tools{Servers: []string{"demo"}},
	}}, metrics, newMemories(quartz.NewReal()))
	require.NoError(t, err)
	return &stage{
		pools: pools, offered: []dialect.Tool{{Name: mcp.ModelName("demo", "echo"), Server: "demo", Tool: "echo", Schema: []byte(`{"type":"object"}`)}},
		trails: newTrails(quartz.NewReal()),
	}
}

var kinds = []kind{requestHeaders, requestBody, responseHeaders, responseBody, requestTrailers, responseTrailers, unknownMessage}

// play holds that whatever comes in whatever order there is never a panic, never a reply to what came after the end of its
// direction, none after an error or the end, one reply for each message but of a stream's body, that Envoy can read each, and that
// nothing which goes to the client holds a key. What the exchange was not told to keep is overwritten at once.
func (s *stage) play(t testing.TB, c script) (furthest due) {
	x := &exchange{}
	x.begin(s.pools, 1<<19)
	defer x.finish()
	told := strings.Contains(c.path+c.status+c.request+c.response+c.name+c.header+c.details+c.front, "long-key")
	for _, o := range c.order {
		m := &message{kind: kinds[int(o>>1)%len(kinds)], end: o&1 == 1, headers: []header{
			{[]byte(":path"), []byte(c.path)}, {[]byte(":method"), []byte("POST")}, {[]byte(":status"), []byte(c.status)}, {[]byte(strings.ToValidUTF8(c.name, "")), []byte(c.header)},
		}}
		switch m.kind {
		case requestHeaders:
			m.headers = append(m.headers, header{[]byte(wire.IDHeader), []byte("id")}, header{[]byte(wire.PoolHeader), []byte("gemini")})
			says := strings.Split(c.front, ",")
			for i, name := range []string{wire.AttemptHeader, wire.RetriesHeader, wire.StartHeader, wire.TurnHeader, wire.ClientHeader}[:min(5, len(says))] {
				m.headers = append(m.headers, header{[]byte(name), []byte(says[i])})
			}
			s.trails.follow(x, m)
		case requestBody:
			m.body = []byte(c.request)
		case responseHeaders:
			m.details, m.flags = []byte(c.details), c.flags
		case responseBody:
			m.body = []byte(c.response)
		default:
		}
		late := m.kind == requestBody && x.request == ended || m.kind == requestTrailers && x.request == ended ||
			m.kind == responseBody && x.response == ended || m.kind == responseTrailers && x.response == ended || m.kind == unknownMessage
		streams := x.shape == streaming || x.shape == drained
		d, err := x.handle(m, time.Now())
		if d == dueTools {
			x.putTools(m, s.offered, dialect.Without{})
			d = dueReply
		}
		s.trails.leave(x)
		switch {
		case err != nil, late:
			require.Equal(t, dueNothing, d, "%v", m.kind)
		case m.kind == responseBody && x.shape != unread, m.kind == responseTrailers && streams:
			require.True(t, streams || d == dueReply || d == dueTurns, "%v: %v", m.kind, d)
		default:
			require.Equal(t, dueReply, d, "%v", m.kind)
		}
		if m.kind != requestHeaders && m.kind != requestBody && !told { // these two go to the provider
			require.False(t, bytes.Contains(x.out.wire, []byte("long-key")) || bytes.Contains(x.chunk, []byte("long-key")))
		}
		if d == dueReply {
			var read extprocv3.ProcessingResponse
			require.NoError(t, proto.Unmarshal(x.out.wire, &read))
			require.NotNil(t, read.Response)
			require.True(t, x.out.pooled == nil || cap(*x.out.pooled) == cap(x.out.wire), "the reply has outgrown its buffer")
		}
		furthest = max(furthest, d)
		if err != nil || x.done || d == dueLastPiece || d == dueTurns {
			return furthest
		}
		x.out.drop() // it is sent
		if x.awaiting != m {
			for _, b := range [][]byte{m.body, m.details} {
				overwrite(b)
			}
			for _, h := range m.headers {
				overwrite(h.name)
				overwrite(h.value)
			}
		}
	}
	return furthest
}

func overwrite(b []byte) {
	for i := range b {
		b[i] = 'X'
	}
}

func FuzzExchange(f *testing.F) {
	for _, c := range scripts {
		f.Add(c.order, c.path, c.status, c.request, c.response, c.name, c.header, c.details, c.flags, c.front)
	}
	f.Fuzz(func(t *testing.T, order []byte, path, status, request, response, name, header, details string, flags uint64, front string) {
		s := newStage(t) // keys that were marked serve nobody
		s.play(t, script{order, path, status, request, response, name, header, details, flags, front})
	})
}

// TestAnyOrder plays the scripts with their messages in random orders, some of them sent twice.
func TestAnyOrder(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	reached := map[due]int{}
	for range 5_000 {
		s := newStage(t) // keys that were marked serve nobody
		c := scripts[random.IntN(len(scripts))]
		order := slices.Clone(c.order)
		for range random.IntN(4) {
			order = slices.Insert(order, random.IntN(len(order)+1), byte(random.IntN(2*len(kinds))))
		}
		if random.IntN(3) == 0 {
			random.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		}
		c.order = order
		reached[s.play(t, c)]++
	}
	for _, d := range []due{dueNothing, dueReply, duePiece, dueLastPiece, dueTurns} {
		require.Greater(t, reached[d], 10, "%v", d)
	}
}
