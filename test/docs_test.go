package test

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/envoy/process"
	"github.com/keyturn/keyturn/internal/config"
	"github.com/keyturn/keyturn/internal/provider"
)

var update = flag.Bool("update", false, "write what documents should hold")

// TestReadme holds the documents' tables equal to what the code knows, and the README at a length that one reads.
func TestReadme(t *testing.T) {
	for _, table := range []struct {
		file, name string
		want       []byte
	}{
		{file: "../docs/configuration.md", name: "configuration", want: config.Reference()},
		{file: "../docs/configuration.md", name: "providers", want: provider.Reference()},
	} {
		begin, end := "<!-- "+table.name+": begin -->\n", "<!-- "+table.name+": end -->"
		b, err := os.ReadFile(table.file)
		require.NoError(t, err)
		before, rest, ok := strings.Cut(string(b), begin)
		require.True(t, ok, "%s lacks %q", table.file, begin)
		had, after, ok := strings.Cut(rest, end)
		require.True(t, ok, "%s lacks %q", table.file, end)
		if *update {
			require.NoError(t, os.WriteFile(table.file, []byte(before+begin+string(table.want)+end+after), 0o600))
			continue
		}
		require.Equal(t, string(table.want), had, "run: go test ./test -run TestReadme -update")
	}
	readme, err := os.ReadFile("../README.md")
	require.NoError(t, err)
	require.LessOrEqual(t, strings.Count(string(readme), "\n"), 150, "README.md is for the first five minutes: the rest stands in docs")
}

// TestLinks holds that what documents link to is there.
func TestLinks(t *testing.T) {
	documents, err := filepath.Glob("../docs/*.md")
	require.NoError(t, err)
	top, err := filepath.Glob("../*.md")
	require.NoError(t, err)
	found := 0
	for _, file := range slices.Concat(documents, top) {
		b, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, m := range regexp.MustCompile(`\]\(([^)#\s]+)`).FindAllStringSubmatch(string(b), -1) {
			if strings.Contains(m[1], ":") {
				continue // of another site
			}
			_, err := os.Stat(filepath.Join(filepath.Dir(file), m[1]))
			require.NoError(t, err, "%s links to %s", file, m[1])
			found++
		}
	}
	require.NotZero(t, found)
}

// TestVersionsInDocuments holds the versions that documents name equal to those that the code asks for.
func TestVersionsInDocuments(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	require.NoError(t, err)
	mod, err := os.ReadFile("../go.mod")
	require.NoError(t, err)
	goVersion := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(string(mod))
	require.NotNil(t, goVersion)
	tested, err := os.ReadFile("../.envoy-version")
	require.NoError(t, err)
	for _, want := range []string{
		"Go " + goVersion[1] + ",",
		"Python " + process.MinPython,
		strings.TrimSpace(string(tested)) + " is what the tests run",
		"Envoy " + process.MinEnvoy + " to ",
	} {
		require.Contains(t, string(readme), want)
	}
}
