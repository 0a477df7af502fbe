package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// environment is what the files in testdata refer to. Every secret of the tests, here and in testdata, contains the word hush.
var environment = map[string]string{
	"KT_A":       "sk-hush-a",
	"KT_B":       "sk-hush-b",
	"KT_C":       "sk-hush-c",
	"KT_TOKEN":   "hush-hush-hush-hush-hush",
	"KT_DB":      "postgres://hush:hush@localhost/keyturn",
	"KT_NEWLINE": "sk-hush-newline\n",
	"KT_EMPTY":   "",
	"KT_SPACE":   "sk-hush d",
	"KT_BEARER":  "Bearer sk-hush-e",
	"KT_QUOTES":  `"sk-hush-f"`,
	"KT_CONTROL": "sk-hush\x01g",
	"KT_UMLAUT":  "sk-hush-ü",
}

const marker = "hush"

func setEnvironment(t *testing.T) {
	t.Helper()
	for name, value := range environment {
		t.Setenv(name, value)
	}
}

// files returns the files of testdata with this ending, and fails when there are none.
func files(t *testing.T, ending string) []string {
	t.Helper()
	found, err := filepath.Glob("testdata/*" + ending)
	require.NoError(t, err)
	require.NotEmpty(t, found, "no testdata/*%s", ending)
	return found
}

// problems returns what an error of Load joins, one text each.
func problems(err error) []string {
	var all []string
	var joined interface{ Unwrap() []error }
	if errors.As(err, &joined) {
		for _, e := range joined.Unwrap() {
			all = append(all, e.Error())
		}
	}
	return all
}

// TestBad reads each testdata/*.bad.yaml. Its first lines say "# want: TEXT", one for each problem in their order; TEXT is a part of the
// problem's message, and begins with ":LINE:" where the problem is in a line of that file. "# schema: accepts" among them says
// that the JSON schema cannot tell.
func TestBad(t *testing.T) {
	setEnvironment(t)
	schema, err := parsedSchema()
	require.NoError(t, err)
	for _, file := range files(t, ".bad.yaml") {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".bad.yaml"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			require.NoError(t, err)
			var wants []string
			schemaAccepts := false
			for line := range strings.Lines(string(data)) {
				line = strings.TrimSpace(line)
				if want, ok := strings.CutPrefix(line, "# want: "); ok {
					wants = append(wants, want)
				} else if line == "# schema: accepts" {
					schemaAccepts = true
				} else {
					break
				}
			}
			require.NotEmpty(t, wants, "no # want: line")

			c, err := Load(file)
			require.Error(t, err)
			require.Nil(t, c)
			got := problems(err)
			require.Len(t, got, len(wants), "%v", err)
			for i := range wants {
				require.Contains(t, got[i], wants[i])
			}
			require.NotContains(t, err.Error(), marker)

			var tree any
			if yaml.Unmarshal(data, &tree) != nil || strings.Contains(wants[0], "second document") {
				return // no schema is asked about a text that is no YAML
			}
			if err := violates(schema, tree, ""); schemaAccepts {
				require.NoError(t, err)
			} else {
				require.Error(t, err, "the schema accepts the file; say so with # schema: accepts")
			}
		})
	}
}
