package extproc

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/coder/quartz"
	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/dialect"
	"github.com/keyturn/keyturn/internal/provider"
	"github.com/keyturn/keyturn/mcp"
)

func tool(server, name, description, schema string) mcp.Tool {
	return mcp.Tool{Server: server, Name: name, ModelName: mcp.ModelName(server, name), Description: description, Schema: []byte(schema)}
}

// offered has a Server offer tools, and returns what it writes into its log.
func offered(t *testing.T, clk quartz.Clock, log *bytes.Buffer, found ...mcp.Tool) *Server {
	t.Helper()
	return &Server{
		tools:  func(context.Context, []string) []mcp.Tool { return found },
		offers: newOffers(clk, slog.New(slog.NewTextHandler(log, nil))),
	}
}

// TestOfferMends gives each provider what it takes. A tool of which nothing can be made is left out, and the log names it once in an hour.
func TestOfferMends(t *testing.T) {
	t.Parallel()
	clk := quartz.NewMock(t)
	var log bytes.Buffer
	s := offered(t, clk, &log,
		tool("a", "all", strings.Repeat("é", 1025), `{"anyOf":[{"type":"object","properties":{"x":{"type":"array","minItems":1,"uniqueItems":true}}}]}`),
		tool("b", "none", "", `{"type":"string"}`),
		tool("b", "key", "", `{"type":"object","properties":{"a b":{"type":"string"}},"required":["a b"]}`),
	)
	for _, tc := range []struct {
		provider string
		dialect  dialect.Dialect
		schema   string
		cut      bool
		tools    int
	}{
		{"openai", dialect.Chat, `{"type":"object","properties":{"x":{"type":"array","minItems":1,"uniqueItems":true,"items":{}}}}`, true, 2},
		{"azure", dialect.Responses, `{"type":"object","properties":{"x":{"type":"array","minItems":1,"uniqueItems":true,"items":{}}}}`, true, 2},
		{"compatible", dialect.Chat, `{"type":"object","properties":{"x":{"type":"array","minItems":1,"uniqueItems":true,"items":{}}}}`, false, 2},
		{"anthropic", dialect.Messages, `{"type":"object","properties":{"x":{"type":"array","minItems":1,"uniqueItems":true,"items":{}}}}`, false, 1},
		{"openrouter", dialect.Messages, `{"type":"object","properties":{"x":{"type":"array","minItems":1,"uniqueItems":true,"items":{}}}}`, false, 1},
		{"gemini", dialect.Chat, `{"type":"object","properties":{"x":{"type":"array","minItems":1,"items":{"type":"string"}}}}`, false, 2},
	} {
		for range 2 {
			row, known := provider.Named(tc.provider)
			require.True(t, known)
			got := s.offer(t.Context(), &Tools{DefinitionBytes: 1 << 20}, takes(Schemas(row.Schemas), tc.dialect))
			require.Len(t, got, tc.tools, tc.provider)
			require.Equal(t, tc.schema, string(got[0].Schema), tc.provider)
			want := strings.Repeat("é", 1025)
			if tc.cut {
				want = strings.Repeat("é", 1023) + "…"
			}
			require.Equal(t, want, got[0].Description, tc.provider)
		}
	}
	const left = `msg="tool left out: its schema cannot be made one that the provider takes" server=b tool=`
	require.Equal(t, 1, strings.Count(log.String(), left+`none provider=OpenAI error="the arguments are no object"`))
	require.Equal(t, 1, strings.Count(log.String(), left+`key provider=Anthropic`))
	require.Equal(t, 5, strings.Count(log.String(), "\n"))
	clk.Advance(time.Hour)
	s.offer(t.Context(), &Tools{DefinitionBytes: 1 << 20}, openAI)
	require.Equal(t, 6, strings.Count(log.String(), "\n"))
}

// TestOfferFits shares the room for definitions among the servers: one whose definitions are large costs its own tools.
func TestOfferFits(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	const schema = `{"type":"object","properties":{}}`
	var found []mcp.Tool
	for i := range 10 {
		found = append(found, tool("large", fmt.Sprint(i), strings.Repeat("x", 1000), schema))
	}
	found = append(found, tool("small", "a", "one", schema), tool("small", "b", "two", schema), tool("middle", "c", strings.Repeat("x", 3000), schema))
	s := offered(t, quartz.NewMock(t), &log, found...)
	names := func(most int64) (got []string) {
		for _, one := range s.offer(t.Context(), &Tools{DefinitionBytes: most}, compatible) {
			got = append(got, one.Server+"/"+one.Tool)
		}
		return got
	}
	require.Len(t, names(20_000), 13)
	require.Empty(t, log.String())
	require.Equal(t, []string{"large/0", "large/1", "large/2", "small/a", "small/b", "middle/c"}, names(7000))
	require.Equal(t, []string{"large/0", "small/a", "small/b"}, names(3000))
	require.Contains(t, log.String(), `msg="tools left out: the definitions are larger than definition_bytes" server=large left_out=7 bytes=`)
	require.Equal(t, 2, strings.Count(log.String(), "\n"), "large and middle, once each")
	require.Empty(t, names(10))
}
