package scripted

import (
	"github.com/keyturn/keyturn/internal/scripted/talk"
)

// Conversation reads the request's body. What only the provider knows, such as the responses before previous_response_id, is not
// in it: a model that needs it is a ToolUser.
func (r Request) Conversation() talk.Conversation {
	return talk.Hear(r.Endpoint, r.Body).Conversation(r.Endpoint)
}

// Results are the results of tools in the request's body that are newer than what the model said last.
func (r Request) Results() []talk.ToolResult { return r.Conversation().Latest }

func (x *exchange) conversation() talk.Conversation { return x.Told().Conversation(x.req.Endpoint) }
