package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/envoy/attach"
	"github.com/keyturn/keyturn/internal/config"
)

// TestMinimalConfig loads what attach says that serve needs.
func TestMinimalConfig(t *testing.T) {
	t.Setenv("OPENAI_KEY", "sk-test-0123456789")
	t.Setenv("MY_POOL_KEY", "sk-test-9876543210")
	for _, clients := range []string{attach.ClientsOwn, attach.ClientsOpen, attach.ClientsKeyturn} {
		folder := t.TempDir()
		file := filepath.Join(folder, "keyturn.yaml")
		require.NoError(t, os.WriteFile(filepath.Join(folder, "clients.keys"), []byte("alice:gw-alice-key\n"), 0o600))
		a := attach.Options{
			Processor: defaultProcessor, Clients: clients,
			Pools: []attach.Pool{{Name: "openai", Cluster: "outbound|443||api.openai.com"}, {Name: "my-pool", Cluster: "mine"}},
		}
		require.NoError(t, os.WriteFile(file, []byte(minimalConfig(a, []string{"", "https://llm.example.com"})), 0o600))
		cfg, err := config.Load(file)
		require.NoError(t, err)
		require.Len(t, cfg.EnvoyConfig().Pools, 2)
	}
}
