package extproc

import (
	"slices"
	"testing"

	"github.com/coder/quartz"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/metric/noop"
	"google.golang.org/protobuf/proto"

	"github.com/keyturn/keyturn/internal/wire"
	"github.com/keyturn/keyturn/keypool"
)

// TestLimitsAreHidden: clients read nothing of what is left of a key, whatever they ask for.
func TestLimitsAreHidden(t *testing.T) {
	clock := quartz.NewMock(t)
	cfg := keypool.Defaults()
	cfg.Name, cfg.Keys = "openai", []keypool.KeyConfig{{Secret: "k0-long-key"}}
	keys, err := keypool.NewPool(cfg, clock)
	require.NoError(t, err)
	m, err := newMetrics(noop.NewMeterProvider(), func() *poolSet { return nil })
	require.NoError(t, err)
	pools, err := newPoolSet([]Pool{{Keys: keys, Cluster: "openai", Header: "authorization", Scheme: "Bearer"}}, m, newMemories(clock))
	require.NoError(t, err)

	names := []string{"x-ratelimit-limit-tokens"} // one that nobody reads
	for _, l := range wire.Limits {
		names = append(names, slices.DeleteFunc([]string{l.Remaining, l.Reset, l.Status}, func(name string) bool { return name == "" })...)
	}
	for _, tc := range []struct {
		name, status string
		request      []string
	}{
		{"a dialect's endpoint", "200", []string{":method: POST", ":path: /v1/responses", "content-type: application/json"}},
		{"an upload", "200", []string{":method: POST", ":path: /v1/files", "content-type: multipart/form-data; boundary=b"}},
		{"an upgrade", "101", []string{":method: GET", ":path: /v1/realtime?model=m", "connection: Upgrade", "upgrade: websocket"}},
		{"a failure that is the client's", "400", []string{":method: POST", ":path: /v1/files"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			x := &exchange{}
			x.begin(pools, defaultMaxRetry)
			defer x.finish()
			handle := func(m *message) {
				due, err := x.handle(m, clock.Now())
				require.NoError(t, err)
				require.Equal(t, dueReply, due)
			}
			m := &message{kind: requestHeaders, headers: lines(append(tc.request, wire.PoolHeader+": openai"))}
			newTrails(clock).follow(x, m)
			handle(m)
			require.NotNil(t, x.key)
			says := []string{":status: " + tc.status}
			for _, name := range names {
				says = append(says, name+": 0")
			}
			handle(&message{kind: responseHeaders, end: true, headers: lines(says)})
			require.True(t, x.done)
			var resp extprocv3.ProcessingResponse
			require.NoError(t, proto.Unmarshal(x.out.wire, &resp))
			removed := resp.GetResponseHeaders().GetResponse().GetHeaderMutation().GetRemoveHeaders()
			for _, name := range names {
				require.Contains(t, removed, name)
			}
		})
	}
}
