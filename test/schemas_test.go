package test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/schema"
	"github.com/keyturn/keyturn/internal/scripted"
)

// TestProvidersTakeMendedSchemas holds the mending of schemas against what providers refuse, as the scripted one knows it by itself: each of
// these is refused as it is, by one of them at the least, and none once it is mended for it.
func TestProvidersTakeMendedSchemas(t *testing.T) {
	provider, err := scripted.New(scripted.Config{Strict: true}).Default(scripted.OK("said")).Start("127.0.0.1:0")
	require.NoError(t, err)
	defer provider.Close()
	base := provider.URL
	ask := func(s speech, tool string) (int, string) {
		body := strings.Replace(s.body(false, "hi"), "{", `{"tools":[`+tool+`],`, 1)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+s.path, strings.NewReader(body))
		require.NoError(t, err)
		req.Header.Set("Authorization", "Bearer k")
		req.Header.Set("X-Api-Key", "k")
		req.Header.Set("Anthropic-Version", "2023-06-01")
		req.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		var said json.RawMessage
		require.NoError(t, json.NewDecoder(resp.Body).Decode(&said))
		return resp.StatusCode, string(said)
	}
	tool := func(s speech, parameters string) string {
		switch s.name {
		case "chat":
			return `{"type":"function","function":{"name":"f","parameters":` + parameters + `}}`
		case "messages":
			return `{"name":"f","input_schema":` + parameters + `}`
		}
		return `{"type":"function","name":"f","parameters":` + parameters + `}`
	}
	for i, ugly := range []string{
		`{"type":"object"}`, `{}`, `{"properties":{"a":{"type":"string"}}}`, `{"type":"object","properties":null}`, `{"type":"dict","properties":{}}`,
		`{"type":"object","properties":{"a":{"type":"string"}},"anyOf":[{"required":["a"]}]}`,
		`{"anyOf":[{"type":"object","properties":{"a":{"type":"string"}}},{"type":"object","properties":{"b":{"type":"string"}}}]}`,
		`{"oneOf":[{"type":"object","properties":{"a":{"type":"array"}}}]}`, `{"allOf":[{"type":"object","properties":{"a":{"type":"string"}}}]}`,
		`{"type":"object","properties":{"a":{"type":"array"}}}`, `{"type":"object","properties":{"a":{"type":"object","properties":{"b":{"type":"array"}}}}}`,
		`{"type":"object","properties":{"a":{"type":"array","items":[{"type":"string"}]}}}`,
		`{"type":"object","properties":{"a":{"type":"number","exclusiveMinimum":true,"minimum":0}}}`,
		`{"type":"object","properties":{"a":{"type":"string","required":true}}}`,
		`{"type":"object","properties":{"a b":{"type":"string"}}}`,
		`{"$ref":"#/$defs/x","$defs":{"x":{"type":"object","properties":{"a":{"type":"array"}}}}}`,
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			refusals := 0
			for _, s := range speeches {
				rules := schema.OpenAI
				if s.name == "messages" {
					rules = schema.Anthropic
				}
				if status, _ := ask(s, tool(s, ugly)); status == 400 {
					refusals++
				}
				mended, err := schema.Mend(json.RawMessage(ugly), rules)
				if err != nil { // then the tool is left out
					continue
				}
				status, said := ask(s, tool(s, string(mended)))
				require.Equal(t, http.StatusOK, status, "%s: %s became %s: %s", s.name, ugly, mended, said)
			}
			require.Positive(t, refusals, "%s is nothing that a provider refuses", ugly)
		})
	}
}
