package extproc

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/quartz"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/metric/noop"

	"github.com/keyturn/keyturn/internal/dialect"
	"github.com/keyturn/keyturn/keypool"
	"github.com/keyturn/keyturn/mcp"
)

// script is what a test of any order sends: bodies for the two directions, and the headers that decide most.
type script struct {
	order                                         []byte // of each message: its kind, and in the last bit whether it ends its direction
	path, status, request, response, name, header string
}

const (
	deltaEvent = "data: {\"type\":\"response.output_text.delta\",\"delta\":\"hi\"}\n\n"
	callAnswer = `{"id":"resp_1","status":"completed","output":[{"type":"function_call","id":"fc_1","call_id":"c1","name":"bmcp_demo_echo","arguments":"{}","status":"completed"}]}`
	callEvent  = "data: {\"type\":\"response.completed\",\"response\":" + callAnswer + "}\n\n"
)

// scripts are some that come far.
var scripts = []script{
	{[]byte{0, 2}, "/v1/responses", "429", "", `{"error":{"code":"insufficient_quota"}}`, "retry-after", "3"},
	{[]byte{0, 1, 4, 3}, "/v1/files/x?key=1", "401", "", "", "upgrade", "websocket"},
	{[]byte{10, 12, 3, 3}, "/v1/messages", "400", "", "[", "content-length", "-1"},
	{[]byte{0, 3, 4, 6, 7}, "/v1/responses", "200", `{"model":"m","input":"x","stream":true}`, deltaEvent, "content-type", "text/event-stream"},
	{[]byte{0, 3, 4, 6, 11}, "/v1/responses", "200", `{"model":"m","input":"x","stream":true}`, callEvent, "content-type", "text/event-stream"},
	{[]byte{0, 3, 4, 7}, "/v1/responses", "200", `{"model":"m","input":"x"}`, callAnswer, "content-type", "application/json"},
	{[]byte{0, 3, 4, 7}, "/v1/chat/completions", "200", `{"model":"m","messages":[]}`, "{}", "content-type", "application/json"},
	{[]byte{0, 3, 4, 6, 7}, "/v1/messages", "200", `{"model":"m","messages":[],"max_tokens":1,"stream":true}`, "event: error\ndata: {}\n\n", "content-type", "text/event-stream"},
	{[]byte{0, 3, 4, 7}, "/v1/responses", "400", `{"model":"m","previous_response_id":"r"}`, `{"error":{"code":"previous_response_not_found"}}`, "content-type", "application/json"},
}

// stage is a pool with a tool that scripts are played on.
type stage struct {
	pools   *poolSet
	offered []dialect.Tool
}

func newStage(t testing.TB) *stage {
	t.Helper()
	pool, err := keypool.New([]string{"k0-long-key", "k1-long-key"}, quartz.NewReal())
	require.NoError(t, err)
	metrics, err := newMetrics(noop.NewMeterProvider(), func() *poolSet { return nil })
	require.NoError(t, err)
	pools, err := newPoolSet([]Pool{{
		Keys: pool, Clusters: []string{"c"}, Header: "authorization", Scheme: "Bearer", Provider: "gemini", Tools: &Tools{Servers: []string{"demo"}},
	}}, metrics, newMemories(quartz.NewReal()))
	require.NoError(t, err)
	return &stage{pools, []dialect.Tool{{Name: mcp.ModelName("demo", "echo"), Server: "demo", Tool: "echo", Schema: []byte(`{"type":"object"}`)}}}
}

var kinds = []kind{requestHeaders, requestBody, responseHeaders, responseBody, requestTrailers, responseTrailers, unknownMessage}

// play holds that whatever comes in whatever order there is never a panic, never a reply to what came after the end of its
// direction, none after an error or the end, one reply for each message but of a stream's body, and that nothing which goes to the
// client holds a key. What the exchange was not told to keep is overwritten at once.
func (s *stage) play(t testing.TB, c script) (furthest due) {
	x := &exchange{}
	x.begin(s.pools, []string{"", promiseBuffered, promiseStreamed}[len(c.order)%3], 1<<20)
	defer x.finish()
	told := strings.Contains(c.path+c.status+c.request+c.response+c.name+c.header, "long-key")
	for _, o := range c.order {
		m := &message{kind: kinds[int(o>>1)%len(kinds)], end: o&1 == 1, cluster: []byte("c"), headers: []header{
			{[]byte(":path"), []byte(c.path)}, {[]byte(":method"), []byte("POST")}, {[]byte(":status"), []byte(c.status)}, {[]byte(c.name), []byte(c.header)},
		}}
		switch m.kind {
		case requestBody:
			m.body = []byte(c.request)
		case responseBody:
			m.body = []byte(c.response)
		default:
		}
		late := m.kind == requestBody && x.request == ended || m.kind == requestTrailers && x.request == ended ||
			m.kind == responseBody && x.response == ended || m.kind == responseTrailers && x.response == ended || m.kind == unknownMessage
		streams := x.shape == streaming || x.shape == drained
		x.offered = s.offered
		d, err := x.handle(m, time.Now())
		switch {
		case err != nil, late:
			require.Equal(t, nothing, d, "%v", m.kind)
		case m.kind == responseBody && x.shape != unread, m.kind == responseTrailers && streams:
			require.True(t, streams || d == answer || d == turns, "%v: %v", m.kind, d)
		default:
			require.Equal(t, answer, d, "%v", m.kind)
		}
		if m.kind != requestHeaders && m.kind != requestBody && !told { // these two go to the provider
			require.False(t, bytes.Contains(x.out.wire, []byte("long-key")) || bytes.Contains(x.chunk, []byte("long-key")))
		}
		furthest = max(furthest, d)
		if err != nil || x.done || d == lastPiece || d == turns {
			return furthest
		}
		x.out.drop() // it is sent
		if x.awaiting != m {
			for _, b := range [][]byte{m.body, m.cluster, m.headers[0].value, m.headers[3].name, m.headers[3].value} {
				for i := range b {
					b[i] = 'X'
				}
			}
		}
	}
	return furthest
}

func FuzzExchange(f *testing.F) {
	for _, c := range scripts {
		f.Add(c.order, c.path, c.status, c.request, c.response, c.name, c.header)
	}
	s := newStage(f)
	f.Fuzz(func(t *testing.T, order []byte, path, status, request, response, name, header string) {
		s.play(t, script{order, path, status, request, response, name, header})
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
	for _, d := range []due{nothing, answer, piece, lastPiece, turns} {
		require.Greater(t, reached[d], 10, "%v", d)
	}
}
