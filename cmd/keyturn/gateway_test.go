package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/config"
	"github.com/keyturn/keyturn/keypool"
)

// loaded reads a configuration in the working folder. GATEWAY_KEY is in its environment.
func loaded(t *testing.T, text string) *config.Config {
	t.Helper()
	t.Setenv("GATEWAY_KEY", "a-key-for-gateways")
	file := filepath.Join(t.TempDir(), "keyturn.yaml")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	cfg, err := config.Load(file)
	require.NoError(t, err)
	return cfg
}

// started is a gateway that is closed with the test.
func started(t *testing.T, text string) *gateway {
	t.Helper()
	g, err := newGateway(loaded(t, text), slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, g.close()) })
	return g
}

// TestTheFilesTimesAreKept: a rest of the file's own is neither cut nor stretched on its way into the pool.
func TestTheFilesTimesAreKept(t *testing.T) {
	g := started(t, `
pools:
- provider: openai
  keys: [{name: a, env: GATEWAY_KEY}]
  cooldown: {min: 0}
  policy: {rules: [{status: 403, action: cooldown, for: 5h}]}
`)
	pool := g.pools[0]
	key, known := pool.Key("a")
	require.True(t, known)
	rests := func(status int, retryAfter, model string) time.Duration {
		now := time.Now()
		v := keypool.Classify(pool.Policy(), keypool.Answer{Status: status, Now: now, Header: func(name string) string {
			return map[string]string{"retry-after": retryAfter}[name]
		}})
		if model != "" {
			v.Scope = keypool.ScopeKeyModel
		}
		return pool.Mark(key, v, model).Until.Sub(now)
	}
	require.InDelta(t, 200*time.Millisecond, rests(429, "0.2", "m"), float64(100*time.Millisecond))
	require.InDelta(t, 5*time.Hour, rests(403, "", ""), float64(time.Minute))
}
