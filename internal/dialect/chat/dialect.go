// Package chat is the dialect OpenAI Chat Completions: POST /v1/chat/completions.
package chat

import (
	"strings"

	"github.com/keyturn/keyturn/internal/dialect/openai"
	"github.com/keyturn/keyturn/internal/dialect/relay"
	"github.com/keyturn/keyturn/internal/dialect/turn"
)

// Dialect is OpenAI Chat Completions.
type Dialect struct{}

// Name implements turn.Dialect.
func (Dialect) Name() string { return "chat" }

// Matches implements turn.Dialect.
func (Dialect) Matches(path string) bool { return strings.HasSuffix(path, "/chat/completions") }

// Open implements turn.Dialect.
func (Dialect) Open(r turn.Request, o turn.Options) turn.Session { return open(r.Body, o) }

// IsStream implements turn.Dialect.
func (Dialect) IsStream(contentType string) bool { return relay.IsEventStream(contentType) }

// ErrorBody implements turn.Dialect.
func (Dialect) ErrorBody(e turn.Error) []byte { return openai.ErrorBody(e) }
