package extproc

import (
	"context"
	"log/slog"

	"github.com/keyturn/keyturn/internal/coding"
	"github.com/keyturn/keyturn/internal/dialect"
	"github.com/keyturn/keyturn/internal/wire"
)

// coded is a body that may have content codings.
type coded struct {
	header string // its content-encoding
	plain  []byte // the body without its codings; nil until it was decoded
	err    error  // why it cannot be
}

// codes reports whether the body has any codings.
func (c *coded) codes() bool {
	names, known := coding.Names(c.header)
	return len(names) > 0 || !known
}

// of is the body without its codings: body itself where it has none.
func (c *coded) of(body []byte) []byte {
	if c.plain != nil {
		return c.plain
	}
	return body
}

// size is how many bytes of memory the body is, with what comes of it when its codings are taken off: at most limit bytes.
func (c *coded) size(body []byte, limit int64) int64 {
	if !c.codes() || int64(len(body)) > limit {
		return int64(len(body))
	}
	n, err := coding.Size(body, c.header, limit)
	if c.err = err; err != nil {
		return int64(len(body))
	}
	return int64(len(body)) + n
}

// decode takes the codings off a body for which size has found that all together is so large.
func (c *coded) decode(body []byte, size int64) {
	if c.err == nil && size > int64(len(body)) {
		c.plain, c.err = coding.DecodeSized(body, c.header, size-int64(len(body)))
	}
}

// takeBody takes memory for the body at hand, and for what comes of it. It reports whether there is as much.
func (a *attempt) takeBody(ctx context.Context, take func(context.Context, int64) bool) bool {
	body, c := a.message.body, a.codedBody()
	size := c.size(body, a.pool.maxBody)
	if !take(ctx, size) {
		return false
	}
	c.decode(body, size)
	return true
}

// codedBody is the body at hand: of the request that is made one for another pool, or of what has to do with tools.
func (x *exchange) codedBody() *coded {
	if x.body != nil && x.response == wantHeaders {
		return x.body
	}
	return &x.tools.coded
}

// unreadable is what a client reads in the place of an answer that has codings, though none were asked for, which cannot be taken off: as
// it is it may call tools that are not the client's.
var unreadable = dialect.Error{
	Type: "api_error", Code: "server_error",
	Message: "The provider's answer is encoded (content-encoding), although that was not asked for, and cannot be decoded: this gateway cannot look for calls of its tools in it.",
}

// cannotRead answers the client in the provider's place. The key is not to blame.
func (x *exchange) cannotRead() {
	x.outcome = surfaced
	x.mut.reset()
	x.dyn.reset()
	x.mut.set(wire.ShouldRetryHeader, "", "false")
	x.instead(502, "answer_unreadable", unreadable)
}

// tellCoded says in the log, now and then, that a request's codings keep tools out of it.
func (s *Server) tellCoded(a *attempt) {
	if a.tools == nil || a.tools.coded.err == nil {
		return
	}
	s.offers.mu.Lock()
	defer s.offers.mu.Unlock()
	if s.offers.again(a.pool.name, "\ncontent-encoding") {
		s.log.Warn("a request passed without tools: its content-encoding cannot be taken off, or more comes of it than max_body",
			slog.String("pool", a.pool.name), slog.Any("error", a.tools.coded.err))
	}
}
