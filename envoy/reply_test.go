package envoy_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/keyturn/keyturn/internal/wire"
)

// expressions finds what the mappers are about of every connection manager in which Keyturn's filter stands: only there are its answers
// Envoy's own. To other managers they come from an upstream.
func expressions(t *testing.T, node any, found *[]string) {
	t.Helper()
	switch v := node.(type) {
	case []any:
		for _, e := range v {
			expressions(t, e, found)
		}
	case map[string]any:
		if strings.Contains(fmt.Sprint(v["http_filters"]), "ext_proc.v3.ExternalProcessor") {
			mappers, _ := v["local_reply_config"].(map[string]any)
			require.NotEmpty(t, mappers["mappers"], "Envoy's own errors have no shape")
			require.Nil(t, mappers["body_format"], "it is for all answers")
			for _, m := range mappers["mappers"].([]any) {
				at := m.(map[string]any)
				for _, name := range []string{"filter", "extension_filter", "typed_config"} {
					at, _ = at[name].(map[string]any)
				}
				expression, ok := at["expression"].(string)
				require.True(t, ok, "%v", m)
				*found = append(*found, expression)
			}
		}
		for _, e := range v {
			expressions(t, e, found)
		}
	}
}

var term = regexp.MustCompile(`^(!?)response\.(?:code (==|<) (\d+)|code_details(?:\.startsWith\('([^']*)'\)| == '([^']*)'))$`)

// holds evaluates a condition of the few forms that are rendered.
func holds(t *testing.T, expression string, status int, details string) bool {
	t.Helper()
	for part := range strings.SplitSeq(expression, " && ") {
		m := term.FindStringSubmatch(part)
		require.NotNil(t, m, "this test cannot read %q", part)
		yes := false
		switch code, _ := strconv.Atoi(m[3]); {
		case m[2] == "==":
			yes = status == code
		case m[2] == "<":
			yes = status < code
		case m[4] != "":
			yes = strings.HasPrefix(details, m[4])
		default:
			yes = details == m[5]
		}
		if yes == (m[1] == "!") {
			return false
		}
	}
	return true
}

// TestMappersLeaveKeyturnsAnswersAlone holds that no mapper of any configuration that is rendered, for listeners of one's own, a mesh or a
// gateway, rewrites an answer of Keyturn's: a provider's error among them, which the client has to read as it was.
func TestMappersLeaveKeyturnsAnswersAlone(t *testing.T) {
	files := 0
	for _, folder := range []string{"testdata/render", "mesh/testdata"} {
		require.NoError(t, filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || filepath.Ext(path) != ".yaml" {
				return err
			}
			files++
			b, err := os.ReadFile(path)
			require.NoError(t, err)
			var found []string
			for docs := yaml.NewDecoder(bytes.NewReader(b)); ; {
				var doc any
				err := docs.Decode(&doc)
				if errors.Is(err, io.EOF) {
					break
				}
				require.NoError(t, err, path)
				expressions(t, doc, &found)
			}
			if strings.Contains(string(b), "ExternalProcessor") || strings.Contains(string(b), "ext_proc.v3") {
				require.NotEmpty(t, found, path)
			}
			for _, expression := range found {
				for status := 200; status < 600; status++ {
					for _, code := range []string{"turn_failed", "rate_limited", "auth_failed", "request_too_large", "memory_full", "provider_timeout", "ext_proc", ""} {
						require.False(t, holds(t, expression, status, wire.DetailsPrefix+code), "%s: %q is about Keyturn's %d %s", path, expression, status, code)
					}
				}
			}
			return nil
		}))
	}
	require.Greater(t, files, 10)
}
