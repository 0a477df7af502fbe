// Package grafana holds that the board of docs/grafana asks what a Prometheus understands. It is a module of its own, for what Prometheus brings.
package grafana

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/promql/parser"
	"github.com/stretchr/testify/require"
)

// variables are Grafana's, with a value each.
var variables = strings.NewReplacer("$__rate_interval", "5m", "$__range", "6h", "$pool", ".*")

// TestBoard holds that each query of the board is one by Prometheus' own parser, and that each metric in it, with each label that it is asked by,
// stands in the tables of docs/operations.md, which the tests of a running gateway hold to be what there is.
func TestBoard(t *testing.T) {
	b, err := os.ReadFile("../../docs/grafana/keyturn.json")
	require.NoError(t, err)
	var board struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	require.NoError(t, json.Unmarshal(b, &board))
	documented := metrics(t)
	queries, asked := 0, map[string]bool{}
	for _, panel := range board.Panels {
		for _, q := range panel.Targets {
			queries++
			expr, err := parser.NewParser(parser.Options{}).ParseExpr(variables.Replace(q.Expr))
			require.NoError(t, err, "%s: %s", panel.Title, q.Expr)
			require.NotContains(t, expr.String(), "$", "%s: a variable that is not known", panel.Title)
			parser.Inspect(expr, func(n parser.Node, _ []parser.Node) error {
				if s, ok := n.(*parser.VectorSelector); ok {
					asked[s.Name] = true
					require.True(t, slices.ContainsFunc([]string{"", "_bucket", "_sum", "_count"}, func(suffix string) bool {
						name, found := strings.CutSuffix(s.Name, suffix)
						return found && documented[name]
					}), "%s: docs/operations.md has no %s", panel.Title, s.Name)
				}
				return nil
			})
		}
	}
	require.Greater(t, queries, 20)
	require.Greater(t, len(asked), 20)
}

// metrics are those that docs/operations.md has in its tables.
func metrics(t *testing.T) map[string]bool {
	t.Helper()
	b, err := os.ReadFile("../../docs/operations.md")
	require.NoError(t, err)
	found := map[string]bool{}
	for line := range strings.Lines(string(b)) {
		cells := strings.Split(line, "|")
		if len(cells) < 4 {
			continue
		}
		first := ""
		for _, m := range regexp.MustCompile("`([a-z0-9_…]+)`").FindAllStringSubmatch(cells[1], -1) {
			rest, short := strings.CutPrefix(m[1], "…")
			switch {
			case !short:
				first = m[1]
				found[first] = true
			default: // the name before it, with another end
				for i := range first {
					found[first[:i]+rest] = true
				}
			}
		}
	}
	require.Greater(t, len(found), 30)
	return found
}
