package scripted

import "encoding/json"

// The items of a response's output ("The response object" in OpenAI's API reference).
type (
	messageItem struct {
		ID      string `json:"id"`
		Type    string `json:"type"`
		Status  string `json:"status"`
		Content []any  `json:"content"`
		Role    string `json:"role"`
	}
	outputText struct {
		Type        string     `json:"type"`
		Annotations []struct{} `json:"annotations"`
		Logprobs    []struct{} `json:"logprobs"`
		Text        string     `json:"text"`
	}
	outputRefusal struct {
		Type    string `json:"type"`
		Refusal string `json:"refusal"`
	}
	reasoningItem struct {
		ID               string        `json:"id"`
		Type             string        `json:"type"`
		EncryptedContent string        `json:"encrypted_content"`
		Summary          []summaryText `json:"summary"`
	}
	summaryText struct {
		Type string `json:"type"`
		Text string `json:"text"`
	}
	functionCall struct {
		ID        string `json:"id"`
		Type      string `json:"type"`
		Status    string `json:"status"`
		Arguments string `json:"arguments"`
		CallID    string `json:"call_id"`
		Name      string `json:"name"`
	}
	customCall struct {
		ID     string `json:"id"`
		Type   string `json:"type"`
		Status string `json:"status"`
		CallID string `json:"call_id"`
		Input  string `json:"input"`
		Name   string `json:"name"`
	}
	webSearchCall struct {
		ID     string          `json:"id"`
		Type   string          `json:"type"`
		Status string          `json:"status"`
		Action json.RawMessage `json:"action"`
	}
)

// itemsOf groups the parts of a turn by the item that says them: texts and refusals that follow one another are one message.
func itemsOf(parts []Part) [][]Part {
	var items [][]Part
	worded := false // the last item is a message
	for _, p := range parts {
		words := p.kind == partText || p.kind == partRefusal
		if words && worded {
			items[len(items)-1] = append(items[len(items)-1], p)
		} else {
			items = append(items, []Part{p})
		}
		worded = words
	}
	return items
}

// item is the i-th item of the output, as it stands when it has this status. In progress it is empty.
func (x *exchange) item(i int, parts []Part, status string) any {
	p := parts[0]
	begun := status == "in_progress"
	if begun {
		p.text = ""
	}
	switch p.kind {
	case partThought, partRedacted:
		r := reasoningItem{ID: x.idOf("rs_", i), Type: "reasoning", Summary: []summaryText{}}
		r.EncryptedContent = x.p.seal(r.ID)
		if begun {
			r.EncryptedContent = r.EncryptedContent[:len(r.EncryptedContent)/2] // only the item that is done has it whole
		} else if p.kind == partThought {
			r.Summary = append(r.Summary, summaryText{Type: "summary_text", Text: p.text})
		}
		return r
	case partCall:
		return functionCall{
			ID: x.idOf("fc_", i), Type: "function_call", Status: status, CallID: x.idOf("call_", i), Name: p.name, Arguments: p.text,
		}
	case partCustom:
		return customCall{
			ID: x.idOf("ctc_", i), Type: "custom_tool_call", Status: status, CallID: x.idOf("call_", i), Name: p.name, Input: p.text,
		}
	case partSearch:
		return webSearchCall{
			ID: x.idOf("ws_", i), Type: "web_search_call", Status: status,
			Action: encode(struct {
				Type  string `json:"type"`
				Query string `json:"query"`
			}{"search", p.text}),
		}
	default:
	}
	m := messageItem{ID: x.idOf("msg_", i), Type: "message", Status: status, Role: "assistant", Content: []any{}}
	if !begun {
		for _, p := range parts {
			m.Content = append(m.Content, contentPart(p.kind, p.text))
		}
	}
	return m
}

func contentPart(kind partKind, text string) any {
	if kind == partRefusal {
		return outputRefusal{Type: "refusal", Refusal: text}
	}
	return outputText{Type: "output_text", Annotations: []struct{}{}, Logprobs: []struct{}{}, Text: text}
}
