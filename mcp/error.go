package mcp

import (
	"fmt"
	"net/http"
	"strings"
	"time"
)

// ErrorKind is the class of an Error.
type ErrorKind uint8

// The kinds of errors.
const (
	Unreachable ErrorKind = iota // there is no connection, or it broke
	Refused                      // 401 or 403: Status
	NotFound                     // there is no such server or tool, or the server answered 404
	Timeout                      // the call took longer than Server.Timeout
	Canceled                     // the caller's context ended
	Protocol                     // a JSON-RPC error (Code), or an answer that is not MCP
	HTTP                         // another status: Status
	TooLarge                     // the answer is larger than Server.MaxResultBytes
	Closed                       // the catalogue was closed
	Arguments                    // the arguments are not a JSON object; the server was not asked
)

var kindNames = [...]string{"unreachable", "refused", "not_found", "timeout", "canceled", "protocol", "http", "too_large", "closed", "arguments"}

// String returns the kind as a label: "unreachable", "too_large", …
func (k ErrorKind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "unknown"
}

// Error is why a call brought no Result.
type Error struct {
	Kind    ErrorKind
	Server  string
	Tool    string // "": the error is about the server
	Program string // how the program of a server that is a command ended, or why it cannot be started; "": neither
	Status  int    // of the HTTP answer; 0: none, or a good one
	Code    int    // of the JSON-RPC error; 0: none

	// Message is what the server said in a JSON-RPC error, cut to 1 KiB; "": nothing. It may repeat arguments, so it is for the model and the
	// client of the call, not for logs; see ForModel.
	Message string

	RetryAfter time.Duration // what the server asked for; 0: nothing
	Ran        bool          // the tool may have run
}

// Error says what happened, without anything that the server said: neither arguments, results, header values nor bodies.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "MCP server %q", e.Server)
	if e.Tool != "" {
		fmt.Fprintf(&b, ", tool %q", e.Tool)
	}
	b.WriteString(": ")
	b.WriteString(e.what())
	if e.Ran {
		b.WriteString("; the tool may have run")
	}
	return b.String()
}

func (e *Error) what() string {
	switch e.Kind {
	case Unreachable:
		if e.Program != "" {
			return "the server's program " + e.Program
		}
		return "the server cannot be reached"
	case Refused:
		return fmt.Sprintf("the server refused the request with status %d", e.Status)
	case NotFound:
		switch {
		case e.Status != 0:
			return "there is no MCP server at this address (status 404)"
		case e.Tool != "":
			return "there is no such tool"
		}
		return "there is no such server"
	case Timeout:
		return "no answer in time"
	case Canceled:
		return "the call was cancelled"
	case Protocol:
		if e.Code != 0 {
			return fmt.Sprintf("the server answered with error %d", e.Code)
		}
		return "the server's answer is not an MCP message"
	case HTTP:
		return strings.TrimSpace(fmt.Sprintf("the server answered with status %d %s", e.Status, http.StatusText(e.Status)))
	case TooLarge:
		return "the answer is too large"
	case Closed:
		return "Keyturn is shutting down"
	case Arguments:
		return "the arguments are not a JSON object; call it again with one"
	}
	return "unknown error"
}

// ForModel returns the error as a model should read it: what Error says, and what the server said.
func (e *Error) ForModel() string {
	if e.Message == "" {
		return e.Error()
	}
	return e.Error() + ": " + e.Message
}

// maxMessage is how much of a server's own words an Error keeps, in bytes.
const maxMessage = 1 << 10

// cut returns at most maxMessage bytes of text, as valid UTF-8.
func cut(text string) string { return limited(text, maxMessage) }

// limited returns at most so many bytes of text, as valid UTF-8.
func limited(text string, most int) string {
	if len(text) > most {
		text = text[:most]
	}
	return strings.ToValidUTF8(text, "")
}
