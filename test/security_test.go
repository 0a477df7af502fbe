package test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestSecurityNamesTestsThatExist: SECURITY.md says by which test each promise is held.
func TestSecurityNamesTestsThatExist(t *testing.T) {
	known := map[string]bool{}
	function := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	require.NoError(t, filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == ".cache" || d.Name() == ".git") {
			return fs.SkipDir
		}
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		b, err := os.ReadFile(path)
		for _, m := range function.FindAllStringSubmatch(string(b), -1) {
			known[m[1]] = true
		}
		return err
	}))
	b, err := os.ReadFile("../SECURITY.md")
	require.NoError(t, err)
	_, model, found := strings.Cut(string(b), "## Threat model")
	require.True(t, found)
	rows, names := 0, regexp.MustCompile("`((?:Test|Fuzz)\\w+)`")
	for line := range strings.Lines(model) {
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| who is hostile") {
			continue
		}
		rows++
		columns := strings.Split(strings.TrimSpace(line), " | ")
		require.Len(t, columns, 4, line)
		held := names.FindAllStringSubmatch(columns[3], -1)
		require.NotEmpty(t, held, "no test holds: %s", line)
		for _, m := range held {
			require.True(t, known[m[1]], "SECURITY.md names %s, which is no test", m[1])
		}
	}
	require.GreaterOrEqual(t, rows, 12)
}

// TestHardeningIsTheCharts: what operations.md says that the chart sets, it sets; and what the chart sets of this kind, the page says.
func TestHardeningIsTheCharts(t *testing.T) {
	b, err := os.ReadFile("../docs/operations.md")
	require.NoError(t, err)
	_, rest, found := strings.Cut(string(b), "<!-- hardening: begin -->")
	require.True(t, found)
	table, _, found := strings.Cut(rest, "<!-- hardening: end -->")
	require.True(t, found)
	chart, err := os.ReadFile("../charts/keyturn/templates/_helpers.tpl")
	require.NoError(t, err)
	_, container, found := strings.Cut(string(chart), `define "keyturn.container"`)
	require.True(t, found)
	said := regexp.MustCompile("(?m)^\\| `([^`]+)` \\|").FindAllStringSubmatch(table, -1)
	require.GreaterOrEqual(t, len(said), 10)
	var all []string
	for _, m := range said {
		require.Contains(t, string(chart), m[1], "the chart does not set it")
		all = append(all, m[1])
	}
	_, context, found := strings.Cut(container, "  securityContext:\n")
	require.True(t, found)
	for line := range strings.Lines(context) {
		setting := strings.TrimSpace(line)
		if !strings.HasPrefix(line, "    ") || strings.HasPrefix(setting, "#") {
			break
		}
		if !strings.Contains(setting, "{{") {
			require.Contains(t, all, setting, "docs/operations.md does not say it")
		}
	}
}
