package scripted

import (
	"strings"

	"github.com/keyturn/keyturn/internal/scripted/messages"
	"github.com/keyturn/keyturn/internal/scripted/talk"
)

// refuseMessages checks a request of the Messages API, with what the provider remembers.
func (x *exchange) refuseMessages(t *talk.Told) *talk.Problem {
	if t.Err != nil {
		return talk.Invalid("", "", "The request body is not valid JSON")
	}
	if pr := messages.Refuse(t, x.r.Header.Get("Anthropic-Version")); pr != nil {
		return pr
	}
	drops := strings.Contains(strings.Join(x.r.Header.Values("Anthropic-Beta"), ","), "thinking-binding-controls")
	if pr := messages.RefuseThoughts(t, x.p.cfg.BindThinking, drops); pr != nil {
		return pr
	}
	x.p.mu.Lock()
	defer x.p.mu.Unlock()
	return messages.RefuseThoughtless(t, x.p.cfg.BindThinking, func(toolUse string) bool { return x.p.ledger.thought[toolUse] })
}
