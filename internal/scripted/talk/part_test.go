package talk

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPieces(t *testing.T) {
	for _, text := range []string{
		"", "one", "one two three", strings.Repeat("a ", 1000), strings.Repeat("ä", 50_000), strings.Repeat("\x80", 40_000),
	} {
		ps := pieces(text)
		require.Equal(t, text, strings.Join(ps, ""))
		require.LessOrEqual(t, len(ps), 64)
		for _, p := range ps {
			require.NotEmpty(t, p)
			require.LessOrEqual(t, len(p), 16<<10)
		}
	}
}
