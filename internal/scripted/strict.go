package scripted

import (
	"github.com/keyturn/keyturn/internal/scripted/chat"
	"github.com/keyturn/keyturn/internal/scripted/openai"
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
	t := x.Told()
	anthropic := x.anthropic()
	switch {
	case t.Err != nil && anthropic:
		return talk.Invalid("", "", "The request body is not valid JSON")
	case t.Err != nil:
		return openai.Unparsed()
	case anthropic:
		return x.refuseMessages(t)
	case t.Model == "":
		return talk.Invalid("model", "missing_required_parameter", "Missing required parameter: 'model'.")
	}
	if pr := openai.RefuseTools(x.req.Endpoint, t); pr != nil {
		return pr
	}
	if x.req.Endpoint == talk.Chat {
		return chat.Refuse(t)
	}
	return x.refuseResponses(t)
}
