package extproc

import (
	"testing"
	"time"

	"github.com/coder/quartz"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/metric/noop"

	"github.com/keyturn/keyturn/internal/dialect"
	"github.com/keyturn/keyturn/internal/wire"
	"github.com/keyturn/keyturn/keypool"
)

// TestTrialEndsWithTheAnswer holds that a key on trial, which one request has at a time, is free again with an answer that does not blame
// it: the next attempt may come before this one's stream has ended.
func TestTrialEndsWithTheAnswer(t *testing.T) {
	for name, m := range map[string]*message{
		"a refusal that is the client's fault": {kind: responseHeaders, end: true, headers: lines([]string{":status: 400"})},
		"Envoy's own answer": {
			kind: responseHeaders, end: true, headers: lines([]string{":status: 503"}), details: []byte("upstream_reset_before_response_started{remote_connection_failure}"), flags: 0x20,
		},
	} {
		t.Run(name, func(t *testing.T) {
			clock := quartz.NewMock(t)
			keys, err := keypool.NewPool(named("openai", "k0-long-key"), clock)
			require.NoError(t, err)
			metrics, err := newMetrics(noop.NewMeterProvider(), func() *poolSet { return nil })
			require.NoError(t, err)
			pools, err := newPoolSet([]Pool{{Keys: keys, Cluster: "c", Header: "authorization"}}, metrics, newMemories(clock))
			require.NoError(t, err)
			trails := newTrails(clock)
			begin := func() *exchange {
				x := &exchange{}
				x.begin(pools, defaultMaxRetry)
				t.Cleanup(x.finish)
				m := &message{kind: requestHeaders, end: true, headers: lines([]string{":path: /v1/models", ":method: GET", wire.PoolHeader + ": openai"})}
				trails.follow(x, m)
				d, err := x.handle(m, clock.Now())
				require.NoError(t, err)
				require.Equal(t, dueReply, d)
				return x
			}
			answer := func(x *exchange, m *message) {
				d, err := x.handle(m, clock.Now())
				require.NoError(t, err)
				require.Equal(t, dueReply, d)
			}
			revoked := begin()
			answer(revoked, &message{kind: responseHeaders, end: true, headers: lines([]string{":status: 401"})})
			require.Equal(t, keypool.Permanent, revoked.transition.To, "for the log and the metrics")
			require.Equal(t, keypool.Permanent, keys.Snapshot()[0].State)
			clock.Advance(15 * time.Minute).MustWait(t.Context())
			first := begin()
			require.NotNil(t, first.key)
			require.Equal(t, exhausted, begin().outcome, "one request at a time")
			answer(first, m)
			require.NotNil(t, begin().key)
		})
	}
}

// TestTrialGivenUpForTheModel holds that a key on trial which turns out to be parked for the request's model is free for others as soon as
// another key is chosen.
func TestTrialGivenUpForTheModel(t *testing.T) {
	clock := quartz.NewMock(t)
	keys, err := keypool.NewPool(named("openai", "k0-long-key", "k1-long-key"), clock)
	require.NoError(t, err)
	metrics, err := newMetrics(noop.NewMeterProvider(), func() *poolSet { return nil })
	require.NoError(t, err)
	pools, err := newPoolSet([]Pool{{Keys: keys, Cluster: "c", Header: "authorization", Tools: &Tools{Servers: []string{"demo"}}}}, metrics, newMemories(clock))
	require.NoError(t, err)
	trails := newTrails(clock)
	begin := func() *exchange {
		x := &exchange{}
		x.begin(pools, defaultMaxRetry)
		t.Cleanup(x.finish)
		m := &message{kind: requestHeaders, headers: lines([]string{":path: /v1/responses", ":method: POST", wire.PoolHeader + ": openai"})}
		trails.follow(x, m)
		_, err := x.handle(m, clock.Now())
		require.NoError(t, err)
		return x
	}
	first, known := keys.Key("openai-1")
	require.True(t, known)
	keys.Mark(first, keypool.Verdict{Action: keypool.NextKey, Scope: keypool.ScopeKeyModel, Class: keypool.ModelAccess, Cooldown: 30 * time.Minute}, "m")
	keys.Mark(first, keypool.Verdict{Action: keypool.Retire, Scope: keypool.ScopeKey}, "")
	clock.Advance(15 * time.Minute).MustWait(t.Context())

	x := begin()
	require.Equal(t, "openai-1", x.key.Name(), "the model is not known yet")
	require.Equal(t, "openai-2", begin().key.Name(), "one request at a time")
	body := &message{kind: requestBody, end: true, body: []byte(`{"model":"m","input":"hi"}`)}
	d, err := x.handle(body, clock.Now())
	require.NoError(t, err)
	require.Equal(t, dueTools, d)
	x.putTools(body, []dialect.Tool{{Name: "bmcp_demo_echo", Server: "demo", Tool: "echo", Schema: []byte(`{"type":"object"}`)}}, dialect.Without{})
	require.Equal(t, "openai-2", x.key.Name())
	require.Equal(t, "openai-1", begin().key.Name())
}
