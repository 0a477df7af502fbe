package dialect_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/dialect"
)

// TestAsManyToolsAsAProviderTakes holds that the client's tools come first, and then as many of Keyturn's, in order, as there is room for.
func TestAsManyToolsAsAProviderTakes(t *testing.T) {
	var tools []dialect.Tool
	for i := range 300 {
		tools = append(tools, dialect.Tool{Name: fmt.Sprintf("bmcp_s_tool%03d", i), Server: "s", Tool: fmt.Sprint(i), Schema: []byte(`{"type":"object"}`)})
	}
	for d, own := range map[dialect.Dialect]string{
		dialect.Chat: `{"type":"function","function":{"name":"mine"}}`, dialect.Responses: `{"type":"function","name":"mine"}`, dialect.Messages: `{"name":"mine","input_schema":{"type":"object"}}`,
	} {
		for _, tc := range []struct{ most, want int }{{0, 127}, {10, 9}, {dialect.AnyTools, 300}} {
			t.Run(fmt.Sprint(d.Name(), tc.most), func(t *testing.T) {
				s := openWith(d, []byte(`{"model":"m","messages":[],"tools":[`+own+`]}`), dialect.Options{Tools: tools, MaxTools: tc.most})
				require.Equal(t, tc.want, strings.Count(string(s.Request()), `"bmcp_s_tool`))
				require.Contains(t, string(s.Request()), fmt.Sprintf("bmcp_s_tool%03d", tc.want-1), "in order")
				require.Contains(t, string(s.Request()), `"mine"`)
				require.Equal(t, 300-tc.want, s.(dialect.Crowded).LeftOut())
			})
		}
	}
}
