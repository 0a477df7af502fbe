package config

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestSettings has what is in force: what the file says with its lines, defaults without, and secrets by reference alone.
func TestSettings(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "keyturn.yaml")
	write(t, filepath.Join(folder, "a.key"), "sk-file-secret-0123456789")
	t.Setenv("PAGE_TOKEN", "a-token-of-the-operator")
	write(t, path, `admin:
  token: {env: PAGE_TOKEN}
pools:
- provider: openai
  keys:
  - {file: a.key, name: first}
`)
	c, err := Load(path)
	require.NoError(t, err)
	all := map[string]Setting{}
	for _, s := range c.Settings() {
		require.NotContains(t, all, s.Path)
		all[s.Path] = s
		require.NotContains(t, s.Value, "0123456789")
		require.NotContains(t, s.Value, "a-token-of")
	}
	require.Equal(t, Setting{"admin.token.env", "PAGE_TOKEN", 2}, all["admin.token.env"])
	require.Equal(t, Setting{"pools[0].keys[0].file", "a.key", 6}, all["pools[0].keys[0].file"])
	require.Equal(t, Setting{"admin.listen", "127.0.0.1:9420", 0}, all["admin.listen"])
	require.Equal(t, "1m", strings.TrimSuffix(all["pools[0].cooldown.default"].Value, "0s"))
	require.Zero(t, all["pools[0].cooldown.default"].Line)
	require.NotContains(t, all, "admin.token.file", "the other form of a reference is no setting")
	paths := c.Settings()
	require.Equal(t, "listen", paths[0].Path, "as the reference orders them")

	require.Equal(t, "(not shown)", withoutSecret("sk-file-secret-0123456789", nil))
	require.Equal(t, "(not shown)", withoutSecret("with swordfish in it", []string{"swordfish"}))
	require.Equal(t, "http://user:xxxxx@proxy.test", withoutSecret("http://user:p@proxy.test", nil))
}

func TestPathsAreOrderedAsPeopleCount(t *testing.T) {
	names := []string{"listen", "pools"}
	require.Negative(t, comparePaths(names, "listen", "pools[0].name"))
	require.Negative(t, comparePaths(names, "pools[2].name", "pools[10].keys"))
	require.Zero(t, comparePaths(names, "pools[2].name", "pools[2].name"))
}
