package istio

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/toolserver"
)

// pool is a pool of keyturn.yaml. In a mesh the host picks it: each has one of its own.
type pool struct {
	name, provider string
	keys           []string
	tools, own     bool // it has tools; clients may bring keys of their own
}

// poolKeys are the keys of every pool, in order of priority.
var poolKeys = []string{"k0-long-key", "k1-long-key", "k2-long-key"}

// pools are as many as the acceptance table needs, those with tools, and impostor: who answers in its place shows the certificate
// of another.
var pools = []pool{
	{name: "openai-one", provider: "openai", keys: poolKeys[:1]},
	{name: "openai-two", provider: "openai", keys: poolKeys[:2]},
	{name: "openai-three", provider: "openai", keys: poolKeys},
	{name: "openai-own", provider: "openai", keys: poolKeys, own: true},
	{name: "openai", provider: "openai", keys: poolKeys[:2], tools: true},
	{name: "anthropic-one", provider: "anthropic", keys: poolKeys[:1]},
	{name: "anthropic-two", provider: "anthropic", keys: poolKeys[:2]},
	{name: "anthropic-three", provider: "anthropic", keys: poolKeys},
	{name: "anthropic-own", provider: "anthropic", keys: poolKeys, own: true},
	{name: "anthropic", provider: "anthropic", keys: poolKeys[:2], tools: true},
	{name: "impostor", provider: "openai", keys: poolKeys[:1]},
}

func (p pool) host() string { return p.name + ".example.com" }

// plainHost is of a service that has nothing to do with Keyturn, behind the same proxy.
const plainHost = "plain.example.net"

// writeConfig writes keyturn.yaml and the files of keys. YAML takes JSON.
func writeConfig(t *testing.T, dir string, f form, tools *toolserver.Server) string {
	t.Helper()
	var all []map[string]any
	for _, p := range f.serves() {
		var keys []map[string]any
		for i, k := range p.keys {
			name := fmt.Sprintf("%s-%d.key", p.name, i)
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(k+"\n"), 0o600))
			keys = append(keys, map[string]any{"name": fmt.Sprintf("key%d", i), "file": name})
		}
		one := map[string]any{"name": p.name, "provider": p.provider, "upstream": "https://" + p.host(), "clusters": []string{f.cluster(p.host())}, "keys": keys}
		if p.name == "openai-two" {
			one["websocket"] = true
		}
		if p.tools {
			one["tools"] = map[string]any{"servers": []string{"demo"}}
		}
		if p.own {
			one["byok"] = map[string]any{"allow": map[string]any{"placeholders": []string{"dummy"}}}
		}
		all = append(all, one)
	}
	clients := map[string]any{"open": true}
	if f.clientKey != "" {
		clients = map[string]any{"api_keys_file": "clients.keys"}
		require.NoError(t, os.WriteFile(filepath.Join(dir, "clients.keys"), []byte("team:"+f.clientKey+"\n"), 0o600))
	}
	settings := map[string]any{"loopback": "unix:" + filepath.Join(dir, "loopback.sock"), "clients": clients}
	if f.inner != "" {
		settings["inner"] = "unix:" + filepath.Join(dir, f.inner)
	}
	top := map[string]any{
		"listen": "unix:" + filepath.Join(dir, "extproc.sock"), "admin": map[string]any{"listen": keyturnAdmin}, "log": map[string]any{"level": "debug", "format": "json"},
		"pools": all, "tools": map[string]any{"servers": []map[string]any{{"name": "demo", "url": tools.URL}}},
		"envoy": settings,
	}
	b, err := json.MarshalIndent(top, "", "  ")
	require.NoError(t, err)
	path := filepath.Join(dir, "keyturn.yaml")
	require.NoError(t, os.WriteFile(path, b, 0o600))
	return path
}
