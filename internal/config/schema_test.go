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
	row := regexp.MustCompile("^\\| `[a-z_.\\[\\]]+` \\| [^|]+ \\| (\\\\\\||[^|])* \\| (\\\\\\||[^|])+ \\|$")
	seen := map[string]bool{}
	for _, l := range lines[2:] {
		require.Regexp(t, row, l)
		name, _, _ := strings.Cut(strings.TrimPrefix(l, "| `"), "`")
		require.False(t, seen[name], name)
		seen[name] = true
	}
	for _, name := range []string{"listen", "admin.token.env", "pools[].keys[].group", "pools[].policy.rules[].for", "envoy.clients.jwt.jwks_url", "pools[].byok.allow.placeholders"} {
		require.True(t, seen[name], name)
	}
	require.Contains(t, string(Reference()), "| `pools[].cooldown.billing_max` | duration | `24h` |")
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
		{"keys": []any{map[string]any{"key": "x"}}},
		{"keys": []any{map[string]any{"env": "A", "file": "b"}}},
		{"byok": "maybe"},
	} {
		require.Error(t, violates(schema, pool(more), ""), "%v", more)
	}
	require.NoError(t, violates(schema, pool(map[string]any{"revive_after": 0, "byok": "allow", "deadline": "1m30s"}), ""))
}
