// Package dialect knows the languages in which clients talk to model providers: OpenAI Responses, OpenAI Chat Completions and
// Anthropic Messages. It is pure: bytes in, bytes out.
package dialect

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Dialect is one of the languages. The zero value is none: an endpoint that has no dialect of its own.
type Dialect uint8

// The dialects.
const (
	None      Dialect = iota
	Responses         // OpenAI Responses: POST /v1/responses
	Chat              // OpenAI Chat Completions: POST /v1/chat/completions
	Messages          // Anthropic Messages: POST /v1/messages
)

// String is the dialect's name in configuration, logs and metrics.
func (d Dialect) String() string {
	switch d {
	case Responses:
		return "responses"
	case Chat:
		return "chat"
	case Messages:
		return "messages"
	case None:
	}
	return "none"
}

// Of tells the dialect of a request by the end of its path. A query is left out of account; what stands before the end
// (/v1, /openai/deployments/gpt) is the provider's own.
func Of(path string) Dialect {
	path, _, _ = strings.Cut(path, "?")
	path = strings.TrimSuffix(path, "/")
	switch {
	case strings.HasSuffix(path, "/responses"):
		return Responses
	case strings.HasSuffix(path, "/chat/completions"):
		return Chat
	case strings.HasSuffix(path, "/messages"):
		return Messages
	}
	return None
}

// Error is an error of Keyturn's own, before it has a dialect's form.
type Error struct {
	Type    string // type in every dialect: rate_limit_error, api_error, authentication_error
	Code    string // code in the OpenAI dialects; Anthropic's form has none
	Message string // for people; it names the remedy and never holds a key or a part of a body
}

// Body is e as the body of an answer with Content-Type application/json: OpenAI's {"error": …} or, for Messages, Anthropic's
// {"type": "error", "error": …}. Both APIs document these shapes in their reference, section "Errors".
func (d Dialect) Body(e Error) []byte {
	var v any
	if d == Messages {
		var a anthropicError
		a.Error.Message, a.Error.Type, a.Type = e.Message, e.Type, "error"
		v = a
	} else {
		var o openAIError
		o.Error.Code, o.Error.Message, o.Error.Type = e.Code, e.Message, e.Type
		v = o
	}
	b, err := json.Marshal(v)
	if err != nil { // strings always marshal
		return []byte(`{"error":{"type":"api_error","code":"server_error","message":"error cannot be encoded"}}`)
	}
	return b
}

type openAIError struct {
	Error struct {
		Code    string `json:"code"`
		Message string `json:"message"`
		Param   string `json:"param"`
		Type    string `json:"type"`
	} `json:"error"`
}

type anthropicError struct {
	Error struct {
		Message string `json:"message"`
		Type    string `json:"type"`
	} `json:"error"`
	RequestID string `json:"request_id"`
	Type      string `json:"type"`
}

// ReadError reads the error out of a provider's or Keyturn's answer, in either shape: {"error": {"type", "code", "message"}}, also
// within an array, or around a text. What it does not find is made up from the status.
func ReadError(status int, body []byte) Error {
	e := Error{Type: "api_error", Code: "server_error"}
	switch {
	case status == 429:
		e = Error{Type: "rate_limit_error", Code: "rate_limit_exceeded"}
	case status >= 400 && status < 500:
		e = Error{Type: "invalid_request_error", Code: "invalid_request"}
	}
	at := whole(body)
	if !validJSON(body) {
		at = span{}
	}
	for first := range elements(body, at) { // Gemini's
		at = first
		break
	}
	if v, ok := lookup(body, at, "error"); ok {
		at = v
	}
	if s := text(body, at, "type"); s != "" && s != "error" {
		e.Type = s
	}
	if s := text(body, at, "code"); s != "" {
		e.Code = s
	}
	if e.Message = text(body, at, "message"); e.Message == "" {
		e.Message = fmt.Sprintf("the provider answered the next turn with status %d and no error that can be read", status)
	}
	return e
}
