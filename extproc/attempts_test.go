package extproc

import (
	"fmt"
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

	"github.com/keyturn/keyturn/internal/wire"
	"github.com/keyturn/keyturn/keypool"
)

// anAnswer is what comes back of an attempt.
type anAnswer struct {
	status, details string
	flags           uint64
	body            string // "": it ends with the headers
	length          bool   // its length is said
}

// answers are one of each kind.
var answers = []anAnswer{
	{status: "200"},
	{status: "200"},
	{status: "429"},
	{status: "429", body: `{"error":{"code":"rate_limit_exceeded"}}`, length: true},
	{status: "429", body: "{}"},
	{status: "401"},
	{status: "401", body: `{"error":{"code":"invalid_api_key"}}`, length: true},
	{status: "402", body: `{"error":{"code":"insufficient_quota"}}`, length: true},
	{status: "529"},
	{status: "529", body: "{}", length: true},
	{status: "400", body: `{"error":{"code":"invalid_value"}}`, length: true},
	{status: "500"},
	{status: "503", details: "upstream_reset_before_response_started{remote_connection_failure}", flags: 0x20},
	{status: "503", details: "upstream_reset_before_response_started{remote_connection_failure}", flags: 0x20, body: "reset", length: true},
	{status: "502", details: "upstream_reset_before_response_started{protocol_error}", body: "reset", length: true},
	{status: "503", details: "no_healthy_upstream"},
	{status: "503", details: "cluster_not_found"},
}

// TestRequestsEnd plays whole requests against providers that answer anything, with fronts that say more or less, several requests
// at a time. Whatever happens: an attempt is asked for only where the front can make one, no key that failed is used again but for
// one repetition, Envoy's own answers mark nobody, and every request ends, below the number of keys and a little.
func TestRequestsEnd(t *testing.T) {
	ended := map[string]int{}
	for seed := range uint64(3000) {
		random := rand.New(rand.NewPCG(seed, 7))
		clock := quartz.NewMock(t).WithLogger(quartz.NoOpLogger)
		cfg := keypool.Defaults()
		cfg.Name = "openai"
		for n := range 1 + random.IntN(4) {
			cfg.Keys = append(cfg.Keys, keypool.KeyConfig{Secret: fmt.Sprintf("k%d-long-key", n)})
		}
		cfg.Policy.Rules = []keypool.Rule{{Status: 529, Action: keypool.NextKey}}
		if random.IntN(2) == 0 {
			cfg.Policy.Rules = append(cfg.Policy.Rules, keypool.Rule{Code: "provider_*", Action: keypool.Action(1 + random.IntN(3))})
		}
		keys, err := keypool.NewPool(cfg, clock)
		require.NoError(t, err)
		m, err := newMetrics(noop.NewMeterProvider(), func() *poolSet { return nil })
		require.NoError(t, err)
		pools, err := newPoolSet([]Pool{{Keys: keys, Cluster: "openai", Header: "authorization", Scheme: "Bearer"}}, m, newMemories(clock))
		require.NoError(t, err)
		g := &game{random: random, clock: clock, keys: keys, pools: pools, trails: newTrails(clock)}
		for n := range 3 {
			g.requests = append(g.requests, &asked{
				id: fmt.Sprint("request-", n), counts: random.IntN(4) > 0, retries: random.IntN(8) - 1, length: random.IntN(3) - 1, keys: map[string]int{},
			})
		}
		for slices.ContainsFunc(g.requests, func(r *asked) bool { return r.outcome == "" }) {
			if r := g.requests[random.IntN(len(g.requests))]; r.outcome == "" {
				g.attempt(t, r)
			}
			if random.IntN(4) == 0 {
				clock.Advance(time.Duration(random.IntN(3000)) * time.Millisecond).MustWait(t.Context())
			}
		}
		for _, r := range g.requests {
			ended[r.outcome]++
		}
	}
	for _, o := range []outcome{succeeded, exhausted, surfaced, unreachable} {
		require.Greater(t, ended[o.String()], 10, "%v", ended)
	}
}

type game struct {
	random   *rand.Rand
	clock    *quartz.Mock
	keys     *keypool.Pool
	pools    *poolSet
	trails   *trails
	requests []*asked
}

// asked is a request as its front knows it.
type asked struct {
	id       string
	counts   bool // the front counts attempts
	retries  int  // -1: it does not say
	length   int  // of the body; -1: it does not know
	attempts int
	keys     map[string]int // how often each was used
	repeated bool
	outcome  string // how it ended
}

// attempt makes the next attempt of r.
func (g *game) attempt(t *testing.T, r *asked) {
	x := &exchange{}
	x.begin(g.pools, defaultMaxRetry)
	defer x.finish()
	r.attempts++
	require.LessOrEqual(t, r.attempts, len(g.keys.Snapshot())+2, "a request that does not end")
	says := []string{":path: /v1/responses", ":method: POST", wire.PoolHeader + ": openai", wire.IDHeader + ": " + r.id}
	if r.counts {
		says = append(says, fmt.Sprintf("%s: %d", wire.AttemptHeader, r.attempts))
	}
	if r.retries >= 0 {
		says = append(says, fmt.Sprintf("%s: %d", wire.RetriesHeader, r.retries))
	}
	if r.length > 0 {
		says = append(says, fmt.Sprintf("content-length: %d", r.length))
	}
	g.send(t, x, &message{kind: requestHeaders, end: r.length == 0, headers: lines(says)})
	if x.done {
		r.outcome = x.outcome.String()
		require.Equal(t, exhausted, x.outcome)
		return
	}
	r.keys[x.key.ID()]++
	require.LessOrEqual(t, r.keys[x.key.ID()], 2)
	before := keyStates(g.keys)
	a := answers[g.random.IntN(len(answers))]
	m := &message{kind: responseHeaders, end: a.body == "", details: []byte(a.details), headers: lines([]string{":status: " + a.status}), flags: a.flags}
	if a.length {
		m.headers = append(m.headers, lines([]string{fmt.Sprintf("content-length: %d", len(a.body))})...)
	}
	resp := g.send(t, x, m)
	if !x.done && a.body != "" {
		resp = g.send(t, x, &message{kind: responseBody, end: true, body: []byte(a.body)})
	}
	require.True(t, x.done)
	if a.details != "" {
		require.Equal(t, before, keyStates(g.keys), "Envoy's own answer marked a key")
	}
	again := strings.Contains(resp, wire.RetryHeader+"=1")
	require.Equal(t, x.outcome == turned, again, "%v: %s", x.outcome, resp)
	switch {
	case !again:
		require.NotContains(t, resp, "cleared")
		r.outcome = x.outcome.String()
	case r.counts && r.retries >= 0:
		require.LessOrEqual(t, r.attempts, r.retries, "the front makes no more")
	default:
		require.NotContains(t, resp, "cleared", "the front may refuse")
		if r.retries >= 0 && r.attempts > r.retries {
			r.outcome = "refused"
		}
	}
	if again && a.details != "" && g.trails.byID[r.id].Value.(*keptTrail).repeated && !r.repeated {
		r.repeated = true
		r.keys[x.key.ID()]-- // once more
	} else if r.keys[x.key.ID()] > 1 {
		require.Fail(t, "a key was used again")
	}
}

// send hands m to x, and tells what stands in the reply.
func (g *game) send(t *testing.T, x *exchange, m *message) string {
	if m.kind == requestHeaders {
		g.trails.follow(x, m)
	}
	d, err := x.handle(m, g.clock.Now())
	require.NoError(t, err)
	require.Equal(t, dueReply, d)
	g.trails.leave(x)
	var resp extprocv3.ProcessingResponse
	require.NoError(t, proto.Unmarshal(x.out.wire, &resp))
	mutation := resp.GetResponseHeaders().GetResponse().GetHeaderMutation()
	if b := resp.GetResponseBody().GetResponse(); b != nil {
		mutation = b.GetHeaderMutation()
	}
	if i := resp.GetImmediateResponse(); i != nil {
		mutation = i.GetHeaders()
	}
	var out strings.Builder
	for _, h := range mutation.GetSetHeaders() {
		fmt.Fprintf(&out, "%s=%s ", h.GetHeader().GetKey(), h.GetHeader().GetRawValue())
	}
	if resp.GetResponseBody().GetResponse().GetBodyMutation().GetClearBody() {
		out.WriteString("cleared")
	}
	return out.String()
}

// lines are headers "name: value".
func lines(all []string) []header {
	var h []header
	for _, p := range headerMap("", all...).GetHeaders() {
		h = append(h, header{[]byte(p.GetKey()), p.GetRawValue()})
	}
	return h
}
