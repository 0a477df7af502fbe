package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/keyturn/keyturn/extproc"
)

// FuzzLoad reads any bytes as a configuration. Nothing panics; a refusal has problems, none of which shows a secret; what is accepted is
// whole, and the JSON schema accepts it too.
func FuzzLoad(f *testing.F) {
	const secret = "sk-Zq7Zq7Zq7Zq7Zq7Zq7Zq7"
	for _, pattern := range []string{"testdata/*.good.yaml", "testdata/*.bad.yaml", "../../keyturn.example.yaml"} {
		seeds, err := filepath.Glob(pattern)
		require.NoError(f, err)
		require.NotEmpty(f, seeds, pattern)
		for _, seed := range seeds {
			data, err := os.ReadFile(seed)
			require.NoError(f, err)
			f.Add(data)
		}
	}
	schema, err := parsedSchema()
	require.NoError(f, err)
	folder := f.TempDir()
	for name, text := range map[string]string{
		"a.key": secret, "b.key": secret + "-b", "two.keys": secret + "-c\n" + secret + "-d\n", "clients.keys": "alice:" + secret, "broken.keys": secret + " x",
	} {
		require.NoError(f, os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600))
	}
	env := func(name string) (string, bool) {
		return secret + "-" + name, strings.HasPrefix(name, "KT_") && name != "KT_UNSET"
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r := newReader(filepath.Join(folder, "keyturn.yaml"), env)
		c := r.read(data)
		if c == nil {
			err := join(r.problems)
			require.Error(t, err)
			require.NotContains(t, err.Error(), secret)
			return
		}
		require.NotEmpty(t, c.Pools)
		for _, p := range c.Pools {
			require.NotEmpty(t, p.Name)
			require.NotEmpty(t, p.Keys)
			require.NotEmpty(t, p.Clusters)
			require.NotEmpty(t, p.Credential.Header)
			require.NotEmpty(t, p.Upstream.Host)
			require.Positive(t, p.Deadline)
			require.Positive(t, p.MaxBody)
			for _, k := range p.Keys {
				require.NotEmpty(t, k.Name)
				require.NotEmpty(t, k.Secret)
				require.Positive(t, k.Line)
			}
			requireTools(t, c, p.Tools)
		}
		for _, s := range c.Tools.Servers {
			require.NotEmpty(t, s.Name)
			require.NotEqual(t, s.URL == nil, len(s.Command) == 0)
			require.NotEmpty(t, s.Allow)
			require.Positive(t, s.Timeout)
			require.Positive(t, s.Refresh)
		}
		require.NotContains(t, strings.Join(c.Warnings, "\n"), secret)
		var tree any
		require.NoError(t, yaml.Unmarshal(data, &tree))
		require.NoError(t, violates(schema, withoutTimes(tree), ""))
	})
}

// requireTools holds that a pool's tools are whole: its servers exist, and no limit is missing.
func requireTools(t *testing.T, c *Config, p *extproc.Tools) {
	t.Helper()
	if p == nil {
		return
	}
	require.NotEmpty(t, p.Servers)
	for _, name := range p.Servers {
		require.True(t, slices.ContainsFunc(c.Tools.Servers, func(s ToolServer) bool { return s.Name == name }), name)
	}
	require.Positive(t, p.Turns)
	require.Positive(t, p.Calls)
	require.Positive(t, p.Time)
	require.Positive(t, p.ResultBytes)
	require.Positive(t, p.MemoryBytes)
	require.True(t, local(c.Listen))
}

// withoutTimes turns what this YAML library takes for a time into the text that it is to Load and to other libraries.
func withoutTimes(v any) any {
	switch v := v.(type) {
	case time.Time:
		return v.Format(time.DateOnly)
	case map[string]any:
		for name := range v {
			v[name] = withoutTimes(v[name])
		}
	case []any:
		for i := range v {
			v[i] = withoutTimes(v[i])
		}
	}
	return v
}
