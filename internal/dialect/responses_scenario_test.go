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

// validResponses holds what the provider wants of a conversation: an output after each call, once, and no items of Keyturn's.
func validResponses(request []byte) error {
	var r struct {
		Input        json.RawMessage
		Previous     string `json:"previous_response_id"`
		Conversation json.RawMessage
	}
	if err := json.Unmarshal(request, &r); err != nil {
		return err
	}
	var items []anyItem
	if json.Unmarshal(r.Input, &items) != nil {
		return nil // a text
	}
	open, seen := map[string]bool{}, map[string]bool{}
	var problems []error
	for n, i := range items {
		switch named, isCall := strings.CutPrefix(i.ID, "fc_"); {
		case i.Type != "item_reference":
		case strings.HasPrefix(i.ID, "mcp_"):
			problems = append(problems, fmt.Errorf("input[%d]: a reference to an mcp_call that the provider does not know", n))
		case isCall: // in scenarios fc_1 is call_1
			i.Type, i.CallID = "function_call", "call_"+named
		}
		switch i.Type {
		case "mcp_call":
			problems = append(problems, fmt.Errorf("input[%d]: an mcp_call that the provider does not know", n))
		case "function_call":
			if seen[i.CallID] {
				problems = append(problems, fmt.Errorf("input[%d]: call %s came before", n, i.CallID))
			}
			open[i.CallID], seen[i.CallID] = true, true
		case "function_call_output":
			if !open[i.CallID] && r.Previous == "" && r.Conversation == nil {
				problems = append(problems, fmt.Errorf("input[%d]: no call for output %s", n, i.CallID))
			}
			delete(open, i.CallID)
		case "reasoning":
			if n+1 == len(items) {
				problems = append(problems, fmt.Errorf("input[%d]: reasoning without its following item", n))
			}
		}
	}
	for id := range open {
		problems = append(problems, fmt.Errorf("no output for function call %s", id))
	}
	return errors.Join(problems...)
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
