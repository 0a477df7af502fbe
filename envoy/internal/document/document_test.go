package document

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestCommentsAreUsed finds comments whose field is never rendered, or rendered under another path.
func TestCommentsAreUsed(t *testing.T) {
	files, err := filepath.Glob("../../testdata/render/*.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	var all strings.Builder
	for _, f := range files {
		doc, err := os.ReadFile(f)
		require.NoError(t, err)
		all.Write(doc)
	}
	for path, text := range comments {
		for line := range strings.Lines(text) {
			require.Contains(t, all.String(), "# "+strings.TrimSpace(line), path)
		}
	}
}
