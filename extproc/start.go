package extproc

import (
	"context"
	"log/slog"
	"time"

	"github.com/keyturn/keyturn/internal/dialect"
	"github.com/keyturn/keyturn/internal/wire"
)

// Start is a request of a client that is about to leave for its provider.
type Start struct {
	ID      string // Envoy's, by which it will be recorded
	At      time.Time
	Client  string // its name; "" where Envoy knows none
	Session string // what the client's agent calls its conversation; "" when it says nothing
	Pool    string
	Method  string
	Path    string // without its query
}

// startTimeout is how long a request waits for its start to be recorded: less than Envoy waits for an answer.
const startTimeout = 3 * time.Second

// begins reports whether a is the first attempt of a client's request that is about to leave. Its headers are the message at hand.
func (a *attempt) begins() bool {
	return a.message.kind == requestHeaders && a.pool != nil && !a.done && !a.laterTurn && a.attempt <= 1
}

// begun records that a client's request begins, where that is required; else the client is answered in the provider's place.
func (s *Server) begun(ctx context.Context, a *attempt) {
	if s.start == nil || !a.begins() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	session := ""
	for _, name := range wire.SessionHeaders {
		if v := a.message.header(name); len(v) > 0 {
			session = string(v)
			break
		}
	}
	err := s.start(ctx, Start{
		ID: string(a.id), At: a.started, Client: string(a.message.header(wire.ClientHeader)), Session: session,
		Pool: a.pool.name, Method: string(a.message.header(":method")), Path: a.path,
	})
	if err == nil {
		return
	}
	if n, ok := s.unrecorded.due(s.clock.Now()); ok && ctx.Err() != context.Canceled {
		s.log.LogAttrs(ctx, slog.LevelError, "requests are refused, since their start cannot be recorded and record.required is set", slog.Int64("requests", n), slog.Any("error", err))
	}
	a.notRecorded()
}

// notRecorded answers the client in the provider's place: nobody would know of its request.
func (x *exchange) notRecorded() {
	x.outcome = surfaced
	x.mut.reset()
	x.mut.set(wire.RetryAfterHeader, "", "1")
	x.instead(503, "not_recorded", dialect.Error{
		Type: "api_error", Code: "server_error", Message: "The gateway cannot record the request at this moment, and lets none pass that is not recorded: send it once more in a moment.",
	})
}
