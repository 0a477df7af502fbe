// Package dialect knows the languages in which clients talk to model providers. Each is a package of its own below this one; here
// is the table of them, and the words of package turn for those who use it. It is pure: bytes in, bytes out.
package dialect

import (
	"strings"

	"github.com/keyturn/keyturn/internal/dialect/chat"
	"github.com/keyturn/keyturn/internal/dialect/messages"
	"github.com/keyturn/keyturn/internal/dialect/openai"
	"github.com/keyturn/keyturn/internal/dialect/responses"
	"github.com/keyturn/keyturn/internal/dialect/turn"
)

// all has a line for each dialect.
var all = []turn.Dialect{
	Responses,
	Chat,
	Messages,
}

// The dialects that others name.
var (
	Responses Dialect = responses.Dialect{}
	Chat      Dialect = chat.Dialect{}
	Messages  Dialect = messages.Dialect{}
)

// Of tells the dialect of a request by its path, which may have a query. Nil is an endpoint that has none.
func Of(path string) Dialect {
	path, _, _ = strings.Cut(path, "?")
	path = strings.TrimSuffix(path, "/")
	for _, d := range all {
		if d.Matches(path) {
			return d
		}
	}
	return nil
}

// Name is d.Name, or "none" where there is no dialect.
func Name(d Dialect) string {
	if d == nil {
		return "none"
	}
	return d.Name()
}

// ErrorBody is d.ErrorBody, or OpenAI's form, which most clients read, where there is no dialect.
func ErrorBody(d Dialect, e Error) []byte {
	if d == nil {
		return openai.ErrorBody(e)
	}
	return d.ErrorBody(e)
}

// Move is turn.Mover's of a dialect; a dialect that is none moves nothing, and says so.
func Move(d Dialect, body []byte, rename func(string) string) (moved []byte, model, bound string) {
	if m, ok := d.(turn.Mover); ok {
		return m.Move(body, rename)
	}
	return body, "", "the dialect"
}

// UpstreamPath is path with the id of an earlier response as the provider knows it, where a dialect's clients know it by another.
func UpstreamPath(path string, memory Memory) string {
	for _, d := range all {
		if r, ok := d.(turn.Renamer); ok {
			path = r.UpstreamPath(path, memory)
		}
	}
	return path
}

// What users of a dialect need of package turn.

type (
	// Dialect is turn.Dialect.
	Dialect = turn.Dialect
	// Request is turn.Request.
	Request = turn.Request
	// Options is turn.Options.
	Options = turn.Options
	// Counting is turn.Counting.
	Counting = turn.Counting
	// Session is turn.Session.
	Session = turn.Session
	// Crowded is turn.Crowded.
	Crowded = turn.Crowded
	// State is turn.State.
	State = turn.State
	// Turn is turn.Turn.
	Turn = turn.Turn
	// Tool is turn.Tool.
	Tool = turn.Tool
	// Call is turn.Call.
	Call = turn.Call
	// Result is turn.Result.
	Result = turn.Result
	// Part is turn.Part.
	Part = turn.Part
	// PartKind is turn.PartKind.
	PartKind = turn.PartKind
	// Error is turn.Error.
	Error = turn.Error
	// Failure is turn.Failure.
	Failure = turn.Failure
	// ToolError is turn.ToolError.
	ToolError = turn.ToolError
	// Usage is turn.Usage.
	Usage = turn.Usage
	// Memory is turn.Memory.
	Memory = turn.Memory
	// ToolErrorKind is turn.ToolErrorKind.
	ToolErrorKind = turn.ToolErrorKind
)

// Constants of package turn.
const (
	Going   = turn.Going
	Over    = turn.Over
	Failing = turn.Failing

	UsualCounting = turn.UsualCounting
	SumOfTurns    = turn.SumOfTurns
	LastTurn      = turn.LastTurn

	TextPart  = turn.TextPart
	ImagePart = turn.ImagePart
	AudioPart = turn.AudioPart
	FilePart  = turn.FilePart

	AnyTools = turn.AnyTools

	ExecutionError = turn.ExecutionError
	ProtocolError  = turn.ProtocolError
	HTTPError      = turn.HTTPError
)

// SearchTools is turn.SearchTools.
func SearchTools() []Tool { return turn.SearchTools() }

// ReadError is turn.ReadError.
func ReadError(status int, body []byte) Error { return turn.ReadError(status, body) }
