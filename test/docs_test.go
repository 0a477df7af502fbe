package test

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/config"
	"github.com/keyturn/keyturn/internal/provider"
)

var update = flag.Bool("update", false, "write what documents should hold")

// TestReadme holds the README's tables equal to what the code knows.
func TestReadme(t *testing.T) {
	const file = "../README.md"
	for name, want := range map[string][]byte{"configuration": config.Reference(), "providers": provider.Reference()} {
		begin, end := "<!-- "+name+": begin -->\n", "<!-- "+name+": end -->"
		b, err := os.ReadFile(file)
		require.NoError(t, err)
		before, rest, ok := strings.Cut(string(b), begin)
		require.True(t, ok, "README.md lacks %q", begin)
		table, after, ok := strings.Cut(rest, end)
		require.True(t, ok, "README.md lacks %q", end)
		if *update {
			require.NoError(t, os.WriteFile(file, []byte(before+begin+string(want)+end+after), 0o600))
			continue
		}
		require.Equal(t, string(want), table, "run: go test ./test -run TestReadme -update")
	}
}
