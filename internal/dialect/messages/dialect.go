// Package messages is the dialect Anthropic Messages: POST /v1/messages.
package messages

import (
	"strings"

	"github.com/keyturn/keyturn/internal/dialect/relay"
	"github.com/keyturn/keyturn/internal/dialect/turn"
)

// Dialect is Anthropic Messages.
type Dialect struct{}

// Name implements turn.Dialect.
func (Dialect) Name() string { return "messages" }

// Matches implements turn.Dialect.
func (Dialect) Matches(path string) bool { return strings.HasSuffix(path, "/messages") }

// Open implements turn.Dialect.
func (Dialect) Open(r turn.Request, o turn.Options) turn.Session { return open(r.Body, o) }

// IsStream implements turn.Dialect.
func (Dialect) IsStream(contentType string) bool { return relay.IsEventStream(contentType) }

// ErrorBody implements turn.Dialect.
func (Dialect) ErrorBody(e turn.Error) []byte { return errorBody(e) }
