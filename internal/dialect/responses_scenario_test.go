package dialect_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/dialect"
	"github.com/keyturn/keyturn/internal/dialect/check"
	responsesrules "github.com/keyturn/keyturn/internal/scripted/responses"
	"github.com/keyturn/keyturn/internal/scripted/talk"
)

func TestResponsesScenarios(t *testing.T) {
	runScenarios(t, scenarioDialect{
		dialect: dialect.Responses, check: check.Responses, valid: validResponses, whole: wholeResponses, final: finalResponses,
		next: nextResponses, without: withoutResponses,
	})
}

type anyItem struct {
	Type, Role, ID string
	CallID         string `json:"call_id"`
}

// validResponses says what the provider would refuse of a conversation, and of items that only Keyturn can have made. What the provider
// has stored is not known here: in scenarios fc_1 is the id of call_1, and outputs may answer calls of a conversation.
func validResponses(request []byte) error {
	told := talk.Hear(talk.Responses, request)
	goesOn := told.Previous != "" || bytes.Contains(request, []byte(`"conversation":`))
	known := map[string]bool{}
	var items []talk.Item
	for i, item := range told.Items {
		named, isCall := strings.CutPrefix(item.ID, "fc_")
		switch {
		case item.Type == "mcp_call", strings.HasPrefix(item.ID, "mcp"):
			return fmt.Errorf("input[%d]: an mcp_call that the provider does not know", i)
		case item.Type == "item_reference" && isCall:
			item.Type, item.CallID = "function_call", "call_"+named
		case item.Type == "reasoning" && i+1 == len(told.Items):
			return fmt.Errorf("input[%d]: reasoning without its following item", i)
		case strings.HasSuffix(item.Type, "_output") && goesOn && !known[item.CallID]:
			continue
		}
		if item.Type == "function_call" && known[item.CallID] {
			return fmt.Errorf("input[%d]: call %s came before", i, item.CallID)
		}
		known[item.CallID] = true
		items = append(items, item)
	}
	return errors.Join(told.Err, refused(responsesrules.RefusePairs(items)))
}

// terminalOf is the response in the event that ends a stream.
func terminalOf(stream []byte) json.RawMessage {
	var last json.RawMessage
	for line := range bytes.Lines(stream) {
		data, ok := bytes.CutPrefix(line, []byte("data: "))
		var ev struct {
			Type     string
			Response json.RawMessage
		}
		if !ok || json.Unmarshal(data, &ev) != nil {
			continue
		}
		switch ev.Type {
		case "response.completed", "response.incomplete", "response.failed":
			last = ev.Response
		}
	}
	return last
}

func wholeResponses(stream []byte) ([]byte, bool) {
	b := terminalOf(stream)
	return b, b != nil
}

// finalResponses is the last response object: check.Responses holds that it has what the stream told.
func finalResponses(stream []byte) []byte { return terminalOf(stream) }

func nextResponses(t *testing.T, request, stream, then []byte) []byte {
	var r, add struct {
		Input    json.RawMessage
		Items    []json.RawMessage
		Previous bool
	}
	var final struct {
		ID     string
		Output []json.RawMessage
	}
	require.NoError(t, json.Unmarshal(request, &r))
	require.NoError(t, json.Unmarshal(then, &add))
	require.NoError(t, json.Unmarshal(terminalOf(stream), &final))
	var all map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(request, &all))
	if add.Previous {
		all["previous_response_id"] = []byte(`"` + final.ID + `"`)
		all["input"] = add.Input
	} else {
		var input []json.RawMessage
		require.NoError(t, json.Unmarshal(r.Input, &input))
		add.Items = append(append(input, final.Output...), add.Items...)
	}
	if add.Items != nil {
		b, err := json.Marshal(add.Items)
		require.NoError(t, err)
		all["input"] = b
	}
	b, err := json.Marshal(all)
	require.NoError(t, err)
	return b
}

func withoutResponses(request []byte) []byte {
	return bytes.Replace(bytes.Replace(request, []byte(`"stream":true`), []byte(`"stream":false`), 1), []byte(`"stream" : true`), []byte(`"stream" : false`), 1)
}
