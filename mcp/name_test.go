package mcp_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/keyturn/keyturn/mcp"
	"github.com/stretchr/testify/require"
)

var modelName = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,64}$`)

func TestModelName(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, server, tool, want string }{
		{"plain", "docs", "search", "bmcp_docs_search"},
		{"hyphens and underscores", "my-docs", "search_all-pages", "bmcp_my-docs_search_all-pages"},
		{"a tool may begin with an underscore", "docs", "_x", "bmcp_docs__x"},
		{"64 bytes", "docs", strings.Repeat("x", 54), "bmcp_docs_" + strings.Repeat("x", 54)},
		{"65 bytes", "docs", strings.Repeat("x", 55), "bmcp_docs_" + strings.Repeat("x", 41) + "_ccdd6a59bdd3"},
		{"dots and slashes", "docs", "a.b/c", "bmcp_docs_a_b_c_4c46dab3e49f"},
		{"beyond ASCII", "docs", "größe", "bmcp_docs_gr__e_519387c573b9"},
		{"ambiguous", "a_b", "c", "bmcp_a_b_c_e2c793e6df82"},
		{"what it could be taken for", "a", "b_c", "bmcp_a_b_c"},
		{"like one with a hash", "a", "b_c_e2c793e6df82", "bmcp_a_b_c_e2c793e6df82_ed97031821b8"},
		{"no tool", "docs", "", "bmcp_docs__b73e22693168"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, tc.want, mcp.ModelName(tc.server, tc.tool))
			require.Regexp(t, modelName, tc.want)
		})
	}
}

// FuzzModelName checks that different tools have different names, all of the form that models want. Each pair of inputs is taken at several ways of
// splitting, where names are most alike.
func FuzzModelName(f *testing.F) {
	f.Add("a_b", "c", "a", "b_c")
	f.Add("docs", "a.b", "docs", "a_b")
	f.Add("docs", strings.Repeat("x", 60), "docs", strings.Repeat("x", 61))
	f.Add("a", "b_c_e2c793e6df82", "a_b", "c")
	f.Add("", "", "_", "")
	f.Fuzz(func(t *testing.T, server1, tool1, server2, tool2 string) {
		type pair struct{ server, tool string }
		pairs := map[pair]bool{{server1, tool1}: true, {server2, tool2}: true}
		whole := server1 + "_" + tool1
		for i := range whole {
			if whole[i] == '_' && len(pairs) < 20 {
				pairs[pair{whole[:i], whole[i+1:]}] = true
			}
		}
		pairs[pair{server1, strings.TrimPrefix(mcp.ModelName(server2, tool2), "bmcp_"+server1+"_")}] = true
		seen := map[string]pair{}
		for p := range pairs {
			name := mcp.ModelName(p.server, p.tool)
			require.Regexp(t, modelName, name)
			other, taken := seen[name]
			require.False(t, taken, "%q: %q and %q", name, p, other)
			seen[name] = p
		}
	})
}
