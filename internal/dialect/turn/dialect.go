// Package turn has the words in which a dialect and its users talk: a Dialect, a Session, and what a turn of it comes to.
package turn

import (
	"fmt"

	"github.com/keyturn/keyturn/internal/dialect/rawjson"
)

// Dialect is one of the languages in which clients talk to model providers. It is a value without state, which == compares.
type Dialect interface {
	// Name is what the dialect is called in configuration, logs and metrics.
	Name() string
	// Matches reports whether a request's path, without query and final slash, names an endpoint of this dialect, whatever stands
	// before the endpoint's own words: /v1, /openai/deployments/gpt.
	Matches(path string) bool
	// Open reads a client's request and puts the tools in. It returns nil when the request is to pass as it is, and so its answer:
	// the body is not JSON or has a member twice that matters, or the request rules tools out.
	Open(Request, Options) Session
	// IsStream reports whether an answer of that Content-Type is a stream which Session.Write reads.
	IsStream(contentType string) bool
	// ErrorBody is e as the body of an answer with Content-Type application/json.
	ErrorBody(e Error) []byte
}

// Failed is a Session that tells of a failure while the turn's stream goes on: Relay may be called then, and all that follows passes.
type Failed interface {
	// Failure is why the turn has failed before it showed anything; nil if it has not.
	Failure() *Failure
}

// Renamer is a Dialect whose clients may name an earlier response in the path of a request.
type Renamer interface {
	// UpstreamPath is path with the provider's id of a response in the place of the client's, which is another where Keyturn has
	// merged turns. It is path itself where the two are the same, or memory does not know; memory may be nil.
	UpstreamPath(path string, memory Memory) string
	// Kept is what is remembered of the response that a path names, and nothing below it; nil if there is nothing.
	Kept(path string, memory Memory) *Kept
}

// Kept is what is remembered of a response that is one for the client and several for the provider.
type Kept struct {
	ID     string   // the client's
	Whole  []byte   // what the client got, JSON; nil: it was too large
	Others []string // the provider's ids of its turns but the last
}

// Named is what the provider says of a turn, JSON, under the client's id of the response.
func (k *Kept) Named(body []byte) []byte {
	if !rawjson.IsObject(body) || !rawjson.Valid(body) {
		return body
	}
	var e rawjson.Edits
	e.Set(body, rawjson.Whole(body), "id", rawjson.AppendString(nil, k.ID))
	return e.Apply(nil, body)
}

// Translator is a Dialect whose clients send back what they were shown of Keyturn's calls, in a form that no provider knows.
type Translator interface {
	// Translates reports whether a request's path, without query and final slash, names an endpoint that takes such things, whether it is
	// one of the dialect or not.
	Translates(path string) bool
	// Translate is the body of a request to one as providers know it; nil where that is the body itself.
	Translate(body []byte, o Options) []byte
}

// Request is a client's request, as far as dialects read it.
type Request struct {
	Path string // with its query: some providers name the model in the path
	Body []byte
}

// Error is an error of Keyturn's own, before it has a dialect's form.
type Error struct {
	Type    string // type in every dialect: rate_limit_error, api_error, authentication_error
	Code    string // code in the OpenAI dialects; Anthropic's form has none
	Message string // for people; it names the remedy and never holds a key or a part of a body
}

// ReadError reads the error out of a provider's or Keyturn's answer, in either shape: {"error": {"type", "code", "message"}}, also
// within an array, or around a text. What it does not find is made up from the status.
func ReadError(status int, body []byte) Error {
	e := Error{Type: "api_error", Code: "server_error"}
	switch {
	case status == 429:
		e = Error{Type: "rate_limit_error", Code: "rate_limit_exceeded"}
	case status >= 400 && status < 500:
		e = Error{Type: "invalid_request_error", Code: "invalid_request"}
	}
	at := rawjson.Whole(body)
	if !rawjson.Valid(body) {
		at = rawjson.Span{}
	}
	for first := range rawjson.Elements(body, at) { // Gemini's
		at = first
		break
	}
	if v, ok := rawjson.Lookup(body, at, "error"); ok {
		at = v
	}
	if s := rawjson.Text(body, at, "type"); s != "" && s != "error" {
		e.Type = s
	}
	if s := rawjson.Text(body, at, "code"); s != "" {
		e.Code = s
	}
	if e.Message = rawjson.Text(body, at, "message"); e.Message == "" {
		e.Message = fmt.Sprintf("the provider answered the next turn with status %d and no error that can be read", status)
	}
	return e
}
