package check_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/dialect/check"
)

// section is a part of one of the dialect's scenarios.
func section(t *testing.T, dialect, scenario, name string) string {
	t.Helper()
	file, err := txtar.ParseFile(filepath.Join("..", "testdata", dialect, scenario+".txtar"))
	require.NoError(t, err)
	for _, f := range file.Files {
		if f.Name == name {
			return string(f.Data)
		}
	}
	require.Fail(t, "no such section", name)
	return ""
}

// TestResponses breaks a good stream in every way that the check must see.
func TestResponses(t *testing.T) {
	good := section(t, "responses", "mixed", "client.sse")
	require.NoError(t, check.Responses([]byte(good)))
	require.NoError(t, check.Responses([]byte(strings.ReplaceAll(good, "\n", "\r\n"))))
	require.NoError(t, check.Responses([]byte(good+"data: [DONE]\n\n")))
	require.NoError(t, check.Responses([]byte(section(t, "responses", "fail", "client.sse"))))

	first, rest, _ := strings.Cut(good, "\n\n")
	terminal := good[strings.LastIndex(good, "event: response.completed"):]
	for _, tc := range []struct{ name, stream, want string }{
		{"empty", "", "ends without response.completed"},
		{"no end", strings.TrimSuffix(good, terminal), "ends without response.completed"},
		{"no blank line at the end", strings.TrimSuffix(good, "\n"), "ends without response.completed"},
		{"two responses", good + good, "it comes after the response's end"},
		{"no begin", rest, "it comes before response.created"},
		{"two begins", first + "\n\n" + good, "it came before"},
		{"no JSON", strings.Replace(good, `data: {`, `data: {{`, 1), "the data is not a JSON object"},
		{"name and type differ", strings.Replace(good, "event: response.in_progress", "event: response.queued", 1), "the event's name is not its type"},
		{"a type of our own", strings.ReplaceAll(good, "response.mcp_call.in_progress", "response.keyturn.begun"), "clients do not know this type"},
		{"a gap in the numbers", strings.Replace(good, `"sequence_number":7`, `"sequence_number":8`, 1), "sequence_number is 8, not 7"},
		{"another response id", strings.Replace(good, terminal, strings.Replace(terminal, `"id":"resp_01"`, `"id":"resp_02"`, 1), 1), `the response's id is "resp_02"`},
		{"other tools", strings.Replace(good, terminal, strings.Replace(terminal, `"tools":[`, `"tools":[{},`, 1), 1), "tools is not what the first event said"},
		{"another status", strings.Replace(good, terminal, strings.Replace(terminal, `"status":"completed","background"`, `"status":"failed","background"`, 1), 1), `status is "failed"`},
		{"a gap in the output", strings.ReplaceAll(good, `"output_index":1`, `"output_index":9`), "output_index is 9, not 1"},
		{"an output twice", strings.ReplaceAll(good, `"output_index":1`, `"output_index":0`), "output_index is 0, not 1"},
		{"an id twice", strings.ReplaceAll(good, "mcp-FC1111", "mcp-VC1313"), "was used before"},
		{"another item id", strings.Replace(good, `"item_id":"fc_12"`, `"item_id":"fc_99"`, 1), `item_id is "fc_99"`},
		{"an item without end", strings.Replace(good, eventOf(good, `"response.output_item.done","sequence_number":19`), "", 1), "has no output_item.done"},
		{"another text", strings.Replace(good, `"delta":"ty`, `"delta":"TY`, 1), "the deltas said"},
		{"another item at the end", strings.Replace(good, terminal, strings.Replace(terminal, `"output":"rain"`, `"output":"snow"`, 1), 1), "is not what output_item.done had"},
		{"an item less at the end", strings.Replace(good, terminal, strings.Replace(terminal, `"output":[`, `"output":[{},`, 1), 1), "output has 5 items"},
		{"another name", strings.Replace(good, `"name":"get_forecast"`, `"name":"x"`, 1), "the item's name is"},
		{"a call that does not end", strings.Replace(good, eventOf(good, `"response.mcp_call.completed"`), "", 1), `status is "completed" after "mcp_call_arguments.done"`},
		{"an error of null", strings.Replace(good, `"sequence_number":1,`, `"sequence_number":1,"error":null,`, 1), "error is null"},
		{"[DONE] in the middle", first + "\n\ndata: [DONE]\n\n" + rest, "it comes after [DONE]"},
		{"[DONE] twice", good + "data: [DONE]\n\ndata: [DONE]\n\n", "[DONE] came before"},
		{"more after an error", "data: {\"type\":\"error\",\"sequence_number\":0}\n\n" + first + "\n\n", "it comes after an error"},
		{"a wrong sum", strings.Replace(good, terminal, strings.Replace(terminal, `"total_tokens":112`, `"total_tokens":113`, 1), 1), "total_tokens is not the sum"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			require.NotEqual(t, good, tc.stream, "the case changes nothing")
			require.ErrorContains(t, check.Responses([]byte(tc.stream)), tc.want)
		})
	}
}

// eventOf is the event of a stream that has a text.
func eventOf(stream, part string) string {
	for ev := range strings.SplitAfterSeq(stream, "\n\n") {
		if strings.Contains(ev, part) {
			return ev
		}
	}
	return "no event has " + part
}
