package envoy_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/envoy"
	"github.com/keyturn/keyturn/envoy/check"
	"github.com/keyturn/keyturn/envoy/internal/envoytest"
)

// TestMemory: where Envoy's memory has a bound, something is done near it, and check finds nothing wrong with that.
func TestMemory(t *testing.T) {
	cfg := goldens(t)["one"]
	b, err := envoy.Render(cfg)
	require.NoError(t, err)
	require.Empty(t, b.OverloadManager.Actions)
	cfg.Memory = 1 << 30
	b, err = envoy.Render(cfg)
	require.NoError(t, err)
	require.Len(t, b.OverloadManager.Actions, 4)
	require.Len(t, b.OverloadManager.ResourceMonitors, 2)
	doc, err := envoy.Marshal(b)
	require.NoError(t, err)
	require.Contains(t, string(doc), "max_heap_size_bytes")
	findings, err := check.Envoy(doc, envoytest.Wanted(cfg))
	require.NoError(t, err)
	require.Empty(t, findings)
	cfg.Memory = 1
	_, err = envoy.Render(cfg)
	require.ErrorContains(t, err, "envoy.memory")
}
