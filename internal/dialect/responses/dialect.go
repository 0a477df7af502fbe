// Package responses is the dialect OpenAI Responses: POST /v1/responses.
package responses

import (
	"strings"

	"github.com/keyturn/keyturn/internal/dialect/openai"
	"github.com/keyturn/keyturn/internal/dialect/relay"
	"github.com/keyturn/keyturn/internal/dialect/turn"
)

// Dialect is OpenAI Responses.
type Dialect struct{}

// Name implements turn.Dialect.
func (Dialect) Name() string { return "responses" }

// Matches implements turn.Dialect.
func (Dialect) Matches(path string) bool { return strings.HasSuffix(path, "/responses") }

// Open implements turn.Dialect.
func (Dialect) Open(r turn.Request, o turn.Options) turn.Session { return open(r.Body, o) }

// IsStream implements turn.Dialect.
func (Dialect) IsStream(contentType string) bool { return relay.IsEventStream(contentType) }

// ErrorBody implements turn.Dialect.
func (Dialect) ErrorBody(e turn.Error) []byte { return openai.ErrorBody(e) }

// Translates implements turn.Translator: responses, what is counted and compacted of them, and conversations.
func (Dialect) Translates(path string) bool {
	last := path[strings.LastIndexByte(path, '/')+1:]
	switch last {
	case "responses", "conversations":
		return true
	case "compact", "input_tokens":
		return strings.HasSuffix(path, "/responses/"+last)
	case "items":
		return strings.Contains(path, "/conversations/")
	}
	return false
}

// Translate implements turn.Translator.
func (Dialect) Translate(body []byte, o turn.Options) []byte { return translate(body, o) }

// UpstreamPath implements turn.Renamer, for the paths of stored responses: /responses/{id}, and what stands below them.
func (Dialect) UpstreamPath(path string, memory turn.Memory) string {
	const under = "/responses/"
	before, rest, ok := strings.Cut(path, under)
	if !ok || memory == nil {
		return path
	}
	end := strings.IndexAny(rest, "/?")
	if end < 0 {
		end = len(rest)
	}
	id, known := upstreamID(memory, rest[:end])
	if !known {
		return path
	}
	return before + under + id + rest[end:]
}

// Kept implements turn.Renamer.
func (Dialect) Kept(path string, memory turn.Memory) *turn.Kept {
	_, id, ok := strings.Cut(path, "/responses/")
	if !ok || id == "" || strings.Contains(id, "/") {
		return nil
	}
	return keptOf(memory, id)
}
