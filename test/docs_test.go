package test

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/config"
)

var update = flag.Bool("update", false, "write what documents should hold")

// TestReadme holds the README's configuration table equal to what the code knows.
func TestReadme(t *testing.T) {
	const file, begin, end = "../README.md", "<!-- configuration: begin -->\n", "<!-- configuration: end -->"
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	before, rest, ok := strings.Cut(string(b), begin)
	require.True(t, ok, "README.md lacks %q", begin)
	table, after, ok := strings.Cut(rest, end)
	require.True(t, ok, "README.md lacks %q", end)
	want := string(config.Reference())
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(before+begin+want+end+after), 0o600))
		return
	}
	require.Equal(t, want, table, "run: go test ./test -run TestReadme -update")
}
