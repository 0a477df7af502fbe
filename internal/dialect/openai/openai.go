// Package openai holds what the two OpenAI dialects have in common: the form of their errors, and the content of messages.
package openai

import (
	"encoding/json"
	"strings"

	"github.com/keyturn/keyturn/internal/dialect/rawjson"
	"github.com/keyturn/keyturn/internal/dialect/turn"
)

// ErrorBody is e as the body of an answer with Content-Type application/json: {"error": …} (OpenAI's API reference, "Errors").
func ErrorBody(e turn.Error) []byte {
	var body struct {
		Error struct {
			Code    string `json:"code"`
			Message string `json:"message"`
			Param   string `json:"param"`
			Type    string `json:"type"`
		} `json:"error"`
	}
	body.Error.Code, body.Error.Message, body.Error.Type = e.Code, e.Message, e.Type
	b, err := json.Marshal(body)
	if err != nil { // strings always marshal
		return []byte(`{"error":{"type":"api_error","code":"server_error","message":"error cannot be encoded"}}`)
	}
	return b
}

// ContentText is the text of a message's content, which stands at b[content]: a string, or a list of parts.
func ContentText(b []byte, content rawjson.Span) string {
	if !content.Found() || b[content.Start] != '[' {
		return rawjson.Unquote(content.Of(b))
	}
	var all strings.Builder
	for part := range rawjson.Elements(b, content) {
		all.WriteString(rawjson.Text(b, part, "text"))
	}
	return all.String()
}
