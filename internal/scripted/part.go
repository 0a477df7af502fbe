package scripted

import (
	"slices"

	"github.com/keyturn/keyturn/internal/scripted/talk"
)

// Say is a model that says these parts, whatever it is asked. What follows an ending is not said. A provider that is strict
// (Config.Strict) leaves out calls that the request forbids: all with tool_choice none, and all but the first where calls may
// not be parallel.
func Say(parts ...talk.Part) Answer {
	parts = slices.Clone(parts)
	return Answer{name: "say", render: func(x *exchange) response { return x.good(talk.Turn{Parts: parts}) }}
}

// ErrorFirst is a stream under 200 that has said nothing yet when it breaks off with pr: a key that is found out of quota late.
// Where no stream was asked for, pr is the answer.
func ErrorFirst(pr talk.Problem) Answer {
	a := Say(talk.Broken(pr))
	a.name = "error first"
	return a
}
