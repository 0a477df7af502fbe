package responses

import (
	"encoding/json"

	"github.com/keyturn/keyturn/internal/scripted/talk"
)

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
func itemsOf(parts []talk.Part) [][]talk.Part {
	var items [][]talk.Part
	worded := false // the last item is a message
	for _, p := range parts {
		words := p.Kind == talk.PartText || p.Kind == talk.PartRefusal
		if words && worded {
			items[len(items)-1] = append(items[len(items)-1], p)
		} else {
			items = append(items, []talk.Part{p})
		}
		worded = words
	}
	return items
}

// item is the i-th item of the output, as it stands when it has this status. In progress it is empty.
func (x exchange) item(i int, parts []talk.Part, status string) any {
	p := parts[0]
	begun := status == "in_progress"
	if begun {
		p.Text = ""
	}
	switch p.Kind {
	case talk.PartThought, talk.PartRedacted:
		r := reasoningItem{ID: x.IDOf("rs_", i), Type: "reasoning", Summary: []summaryText{}}
		r.EncryptedContent = x.Seal(r.ID)
		if begun {
			r.EncryptedContent = r.EncryptedContent[:len(r.EncryptedContent)/2] // only the item that is done has it whole
		} else if p.Kind == talk.PartThought {
			r.Summary = append(r.Summary, summaryText{Type: "summary_text", Text: p.Text})
		}
		return r
	case talk.PartCall:
		return functionCall{
			ID: x.IDOf("fc_", i), Type: "function_call", Status: status, CallID: x.IDOf("call_", i), Name: p.Name, Arguments: p.Text,
		}
	case talk.PartCustom:
		return customCall{
			ID: x.IDOf("ctc_", i), Type: "custom_tool_call", Status: status, CallID: x.IDOf("call_", i), Name: p.Name, Input: p.Text,
		}
	case talk.PartSearch:
		return webSearchCall{
			ID: x.IDOf("ws_", i), Type: "web_search_call", Status: status,
			Action: talk.Encode(struct {
				Type  string `json:"type"`
				Query string `json:"query"`
			}{"search", p.Text}),
		}
	default:
	}
	m := messageItem{ID: x.IDOf("msg_", i), Type: "message", Status: status, Role: "assistant", Content: []any{}}
	if !begun {
		for _, p := range parts {
			m.Content = append(m.Content, contentPart(p.Kind, p.Text))
		}
	}
	return m
}

func contentPart(kind talk.PartKind, text string) any {
	if kind == talk.PartRefusal {
		return outputRefusal{Type: "refusal", Refusal: text}
	}
	return outputText{Type: "output_text", Annotations: []struct{}{}, Logprobs: []struct{}{}, Text: text}
}
