package turn

import (
	"github.com/keyturn/keyturn/internal/dialect/rawjson"
)

// Mover is a Dialect whose requests can go to another provider than the one that they were made for.
type Mover interface {
	// Move reads a request's body for another provider. Where rename gives its model another name, moved has that one, and every other byte as it
	// is; it is body itself where nothing is to change, and for what is no request of the dialect. model is the one that moved names, "" where none
	// is found. bound is what the request names that only the first provider has, such as previous_response_id; "": nothing.
	Move(body []byte, rename func(model string) string) (moved []byte, model, bound string)
}

// moveDepth is how deep values stand that name what a provider has stored: in a part of a message's result, of a list of messages.
const moveDepth = 8

// Bound is what a member names that only one provider has, in words for the client; "": nothing. The members of the request itself have depth 0.
type Bound func(name string, value []byte, depth int) string

// Move is what dialects have in common: the member model is renamed, and bound finds in the members of the request, and of all objects within them,
// what only a provider has.
func Move(body []byte, rename func(string) string, bound Bound) (moved []byte, model, found string) {
	var at rawjson.Span
	if !rawjson.ReadFields(body, func(name string) *rawjson.Span {
		if name == "model" {
			return &at
		}
		return nil
	}) {
		return body, "", ""
	}
	moved = body
	if model = rawjson.Word(at.Of(body)); model != "" {
		if to := rename(model); to != model {
			var e rawjson.Edits
			e.Replace(at, rawjson.AppendString(nil, to))
			moved, model = e.Apply(nil, body), to
		}
	}
	return moved, model, boundIn(body, rawjson.Whole(body), bound, 0)
}

// boundIn is the first that bound finds in a value.
func boundIn(b []byte, at rawjson.Span, bound Bound, depth int) string {
	at.Start = rawjson.SkipSpace(b, at.Start)
	if depth > moveDepth || !at.Found() {
		return ""
	}
	switch b[at.Start] {
	case '{':
		for m := range rawjson.Members(b, at) {
			if found := bound(string(m.Name), m.Val.Of(b), depth); found != "" {
				return found
			}
			if found := boundIn(b, m.Val, bound, depth+1); found != "" {
				return found
			}
		}
	case '[':
		for e := range rawjson.Elements(b, at) {
			if found := boundIn(b, e, bound, depth+1); found != "" {
				return found
			}
		}
	}
	return ""
}

// Given reports whether a value is a string that is not empty.
func Given(value []byte) bool { return len(value) > 2 && value[0] == '"' }
