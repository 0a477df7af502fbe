package scripted

import (
	"github.com/keyturn/keyturn/internal/scripted/chat"
	"github.com/keyturn/keyturn/internal/scripted/messages"
	"github.com/keyturn/keyturn/internal/scripted/openai"
	"github.com/keyturn/keyturn/internal/scripted/responses"
	"github.com/keyturn/keyturn/internal/scripted/talk"
)

// language is a dialect, by its endpoint: how turns are said in it, and what the real provider refuses there.
type language struct {
	say    func(*exchange) talk.Dialect
	refuse func(*exchange, *talk.Told) *talk.Problem
}

// languageOf has a line for each dialect.
func languageOf(e talk.Endpoint) (l language, ok bool) {
	switch e {
	case talk.Responses:
		return language{func(x *exchange) talk.Dialect { return responses.Dialect(x) }, (*exchange).refuseResponses}, true
	case talk.Chat:
		return language{func(x *exchange) talk.Dialect { return chat.Dialect(x) }, refuseChat}, true
	case talk.Messages:
		return language{func(x *exchange) talk.Dialect { return messages.Dialect(x) }, (*exchange).refuseMessages}, true
	default:
		return language{}, false
	}
}

// refuseChat checks a request of Chat Completions.
func refuseChat(_ *exchange, t *talk.Told) *talk.Problem {
	if pr := refuseOpenAI(talk.Chat, t); pr != nil {
		return pr
	}
	return chat.Refuse(t)
}

// refuseOpenAI checks what both of OpenAI's APIs ask of a request.
func refuseOpenAI(e talk.Endpoint, t *talk.Told) *talk.Problem {
	switch {
	case t.Err != nil:
		return openai.Unparsed()
	case t.Model == "":
		return talk.Invalid("model", "missing_required_parameter", "Missing required parameter: 'model'.")
	}
	return openai.RefuseTools(e, t)
}
