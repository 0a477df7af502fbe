package extproc

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestToolsGoIn is about the requests that a pool's tools go into.
func TestToolsGoIn(t *testing.T) {
	for _, tc := range []struct {
		name         string
		tools        Tools
		asked, model string
		path         string // the model that it names
		clients      int
		want         bool
	}{
		{name: "always", tools: Tools{When: ToolsAlways}, want: true},
		{name: "not asked for", tools: Tools{When: ToolsAlways}, asked: "off"},
		{name: "a title", tools: Tools{When: ToolsBesideClients}},
		{name: "an agent", tools: Tools{When: ToolsBesideClients}, clients: 1, want: true},
		{name: "a title, asked for", tools: Tools{When: ToolsBesideClients}, asked: "on", want: true},
		{name: "an agent, not asked for", tools: Tools{When: ToolsBesideClients}, clients: 9, asked: "0"},
		{name: "without the header", tools: Tools{When: ToolsByHeader}, clients: 9},
		{name: "with the header", tools: Tools{When: ToolsByHeader}, asked: "on", want: true},
		{name: "with the header, off", tools: Tools{When: ToolsByHeader}, asked: "false"},
		{name: "a model", tools: Tools{When: ToolsAlways, Models: []string{"o3", "gpt-5*"}}, model: "gpt-5-mini", want: true},
		{name: "another model", tools: Tools{When: ToolsAlways, Models: []string{"o3", "gpt-5*"}}, model: "o3-mini"},
		{name: "a model left out", tools: Tools{When: ToolsAlways, Models: []string{"*"}, ExceptModels: []string{"claude-*haiku*"}}, model: "claude-haiku-4-5"},
		{name: "a model that is not", tools: Tools{When: ToolsAlways, ExceptModels: []string{"claude-*haiku*5"}}, model: "claude-haiku-4-6", want: true},
		{name: "a pattern's words do not overlap", tools: Tools{When: ToolsAlways, ExceptModels: []string{"a*a"}}, model: "a", want: true},
		{name: "the path's model", tools: Tools{When: ToolsAlways, ExceptModels: []string{"small"}}, model: "large", path: "small"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			x := exchange{home: &bound{tools: &tc.tools}, tools: &withTools{asked: tc.asked}}
			x.model = tc.path
			require.Equal(t, tc.want, x.offers(tc.model, tc.clients))
		})
	}
}
