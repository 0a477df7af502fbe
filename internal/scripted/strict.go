package scripted

import (
	"github.com/keyturn/keyturn/internal/scripted/talk"
)

// refusal is the error that the real provider answers this request with; nil if it would answer it well, or if this one is not
// strict. The messages are the real ones, as far as they are known.
func (x *exchange) refusal() *talk.Problem {
	if !x.p.cfg.Strict {
		return nil
	}
	if x.body == nil && x.req.BodySize > 0 {
		return nil // too big to be held
	}
	l, ok := languageOf(x.req.Endpoint)
	if !ok {
		return nil
	}
	return l.refuse(x, x.Told())
}
