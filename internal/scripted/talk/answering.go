package talk

import (
	"encoding/json"
)

// Answering is the exchange that a turn is said in, as far as a dialect needs it.
type Answering interface {
	// ID makes the exchange's id of a kind: resp_…, msg_…, chatcmpl-…; IDOf the i-th of a kind: fc_…, call_…, toolu_…. No two of a
	// provider are the same.
	ID(prefix string) string
	IDOf(prefix string, i int) string
	RequestID() string
	// ModelName is the model that the request asks for.
	ModelName() string
	// Created is when the request came, in seconds.
	Created() int64
	// Usage counts the tokens of what was said.
	Usage(said Tally) Tokens
	// Member reads a member of the request into v, if it is there and fits.
	Member(name string, v any) bool
	// Echo is a member of the request as the client sent it, or otherwise if it sent none.
	Echo(name, otherwise string) json.RawMessage
	// Told is what the request says.
	Told() *Told
	// Seal is what the provider alone can read: the encrypted content that belongs to an id.
	Seal(id string) string
	// Framing is how the events of the stream are to be written.
	Framing() Framing
}

// Dialect is how one of the three languages says a turn.
type Dialect struct {
	Whole  func(Turn) any
	Stream func(Turn, func(event []byte) bool)
	Lead   int // events before the first delta
}

// Obfuscates says whether deltas are padded: unless stream_options.include_obfuscation is false.
func Obfuscates(a Answering) bool {
	var o struct {
		Include *bool `json:"include_obfuscation"`
	}
	return !a.Member("stream_options", &o) || o.Include == nil || *o.Include
}
