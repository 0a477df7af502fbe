package istio

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestMiss has the resources miss each other: a route of another name than the one that Keyturn's filter is enabled on, or no filter
// at all. The provider then gets the request without a credential: the client's own never reaches it.
func TestMiss(t *testing.T) {
	for _, f := range forms {
		for _, tc := range []struct {
			name string
			edit func(*testing.T, *mesh, string) string
		}{
			{"renamed route", renameRoutes},
			{"removed filter", removeFilter},
		} {
			t.Run(f.name+"/"+tc.name, func(t *testing.T) {
				m := startMesh(t, f, tc.edit)
				for _, path := range []string{"/v1/responses", "/v1/chat/completions", "/v1/messages", "/v1/files"} {
					for _, p := range []pool{{name: "openai-two"}, {name: "anthropic"}} {
						m.reset(t)
						got := m.post(t, p.host(), path, `{"model":"m"}`,
							"Authorization", "Bearer "+clientKey, "X-Api-Key", clientKey, "Api-Key", clientKey, "X-Goog-Api-Key", clientKey)
						require.Equal(t, http.StatusUnauthorized, got.status, "the provider's answer to a request without a key")
						requests := m.provider.Requests()
						require.Len(t, requests, 1)
						require.NotContains(t, fmt.Sprint(requests[0].Header), clientKey)
						require.Empty(t, requests[0].Key)
					}
				}
				require.Zero(t, m.streams(t), "Keyturn saw nothing")
				m.noneRejected(t)
			})
		}
	}
}

// renameRoutes gives routes to providers other names.
func renameRoutes(t *testing.T, _ *mesh, rendered string) string {
	t.Helper()
	all, renamed := documents(t, rendered), 0
	for _, d := range all {
		switch kind(d) {
		case "VirtualService":
			for _, r := range d["spec"].(map[string]any)["http"].([]any) {
				r.(map[string]any)["name"] = "renamed"
				renamed++
			}
		case "HTTPRoute": // the route's name is made of this one
			metadata := d["metadata"].(map[string]any)
			metadata["name"] = "renamed-" + metadata["name"].(string)
			renamed++
		}
	}
	require.GreaterOrEqual(t, renamed, len(pools))
	return stream(t, all)
}

// removeFilter takes the EnvoyFilters out.
func removeFilter(t *testing.T, _ *mesh, rendered string) string {
	t.Helper()
	var rest []map[string]any
	all := documents(t, rendered)
	for _, d := range all {
		if kind(d) != "EnvoyFilter" {
			rest = append(rest, d)
		}
	}
	require.Less(t, len(rest), len(all))
	return stream(t, rest)
}
