package envoy_test

import (
	"testing"

	"github.com/keyturn/keyturn/envoy"
	"github.com/keyturn/keyturn/envoy/internal/envoytest"
	"github.com/stretchr/testify/require"
)

// TestParts: what a control plane gets is what Render would write.
func TestParts(t *testing.T) {
	cfg := envoy.Config{
		Listen: "127.0.0.1:0", Inner: "unix:inner.sock", Loopback: "unix:loopback.sock", Processor: "unix:extproc.sock",
		Clients: envoy.Clients{ByEnvoy: true, APIKeys: []envoy.ClientKey{{Name: "alice", Secret: "gw-alice"}}},
		Pools:   []envoy.Pool{{Name: "a", Upstream: envoytest.URL(t, "http://127.0.0.1:9300"), Keys: 3}},
	}
	p, err := envoy.NewParts(cfg)
	require.NoError(t, err)
	require.EqualValues(t, envoy.DefaultBodyBytes, p.Config().MaxRequestBytes)
	require.Equal(t, []string{"a"}, p.Config().Pools[0].Clusters)
	require.Nil(t, p.LoopbackListener(0o600), "no pool has tools")
	require.EqualValues(t, 0o600, p.InnerListener().GetAddress().GetPipe().GetMode())
	pool := &p.Config().Pools[0]
	lean, full := p.FrontRoute(pool, false), p.FrontRoute(pool, true)
	require.Equal(t, envoy.InnerName, lean.GetRoute().GetCluster())
	require.Empty(t, lean.TypedPerFilterConfig)
	require.Len(t, full.TypedPerFilterConfig, len(p.FrontFilters()), "one for each filter")
	require.NoError(t, p.Err())

	cfg.Pools[0].Tools = true
	p, err = envoy.NewParts(cfg)
	require.NoError(t, err)
	require.EqualValues(t, 0o660, p.LoopbackListener(0o660).GetAddress().GetPipe().GetMode())

	_, err = envoy.NewParts(envoy.Config{})
	require.ErrorContains(t, err, "pools: at least one is needed")
}

// TestPartsHaveNoProxy: the cluster of a provider is somebody else's there.
func TestPartsHaveNoProxy(t *testing.T) {
	cfg := envoy.Config{
		Listen: "127.0.0.1:0", Processor: "unix:extproc.sock",
		Pools: []envoy.Pool{{Name: "openai", Upstream: parse(t, "https://api.openai.com"), Proxy: parse(t, "http://proxy:3128")}},
	}
	_, err := envoy.NewParts(cfg)
	require.ErrorContains(t, err, "upstream_proxy")
}
