package config

import (
	"bytes"
	"encoding/json"
	"maps"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSchemaFile(t *testing.T) {
	require.True(t, json.Valid(Schema()))
	golden(t, "../../docs/keyturn.schema.json", string(Schema()))
}

// TestReference holds the table to its form: a row for each field, with all four cells.
func TestReference(t *testing.T) {
	lines := strings.Split(strings.TrimSpace(string(Reference())), "\n")
	require.Equal(t, "| field | type | default | meaning |", lines[0])
	row := regexp.MustCompile("^\\| `[a-zA-Z_.\\[\\]]+` \\| [^|]+ \\| (\\\\\\||[^|])* \\| (\\\\\\||[^|])+ \\|$")
	seen := map[string]bool{}
	for _, l := range lines[2:] {
		require.Regexp(t, row, l)
		name, _, _ := strings.Cut(strings.TrimPrefix(l, "| `"), "`")
		require.False(t, seen[name], name)
		seen[name] = true
	}
	for _, name := range []string{"listen", "admin.token.env", "pools[].keys[].group", "pools[].policy.rules[].for", "envoy.clients.jwt.jwks_url", "pools[].byok.allow.placeholders", "pools[].tools.memory_bytes", "tools.servers[].headers"} {
		require.True(t, seen[name], name)
	}
	require.Contains(t, string(Reference()), "| `pools[].cooldown.billing_max` | duration | `24h` |")
	require.Contains(t, string(Reference()), "| `pools[].tools.time` | duration | `10m` |")
	require.Contains(t, string(Reference()), "| `tools.servers[].allow` | list | `[\"*\"]` |")
	require.True(t, bytes.HasSuffix(Reference(), []byte("|\n")))
}

// TestTheSchemaRefusesWhatItKnows is about values that an editor should mark without asking Load.
func TestTheSchemaRefusesWhatItKnows(t *testing.T) {
	schema, err := parsedSchema()
	require.NoError(t, err)
	pool := func(more map[string]any) any {
		p := map[string]any{"provider": "openai", "keys": []any{map[string]any{"env": "A"}}}
		maps.Copy(p, more)
		return map[string]any{"pools": []any{p}}
	}
	require.NoError(t, violates(schema, pool(nil), ""))
	for _, more := range []map[string]any{
		{"deadline": 30},
		{"deadline": "30"},
		{"deadline": "1d"},
		{"max_body": "32MB"},
		{"provider": "opnai"},
		{"tools": map[string]any{}},
		{"tools": map[string]any{"servers": []any{"docs"}, "turns": 101}},
		{"tools": map[string]any{"servers": []any{"Docs"}}},
		{"keys": []any{map[string]any{"key": "x"}}},
		{"keys": []any{map[string]any{"env": "A", "file": "b"}}},
		{"byok": "maybe"},
	} {
		require.Error(t, violates(schema, pool(more), ""), "%v", more)
	}
	server := func(more map[string]any) any {
		s := map[string]any{"name": "docs", "url": "https://mcp.example.com/mcp"}
		maps.Copy(s, more)
		c := pool(nil).(map[string]any)
		c["tools"] = map[string]any{"servers": []any{s}}
		return c
	}
	require.NoError(t, violates(schema, server(map[string]any{"headers": map[string]any{"x-team": "docs", "authorization": map[string]any{"env": "A"}}}), ""))
	for _, more := range []map[string]any{
		{"url": "mcp.example.com"},
		{"command": []any{"npx"}}, // beside the url
		{"headers": map[string]any{"a header": "x"}},
		{"headers": map[string]any{"x-team": 7}},
		{"headers": map[string]any{"authorization": map[string]any{"env": "A", "file": "b"}}},
		{"env": map[string]any{"A-B": "x"}},
		{"transport": "stdio"},
		{"allow": []any{}},
	} {
		require.Error(t, violates(schema, server(more), ""), "%v", more)
	}
	require.NoError(t, violates(schema, pool(map[string]any{"revive_after": 0, "byok": "allow", "deadline": "1m30s"}), ""))
}
