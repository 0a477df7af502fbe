package mcp

import (
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os/exec"
	"syscall"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

// circumstances is all that is known about a request that brought no result.
type circumstances struct {
	err      error // of the SDK
	cause    error // why the request's context ended; nil: it did not
	facts    facts
	broken   bool // the SDK gave up the connection
	overflow bool // because of a message over the limit
	hasID    bool // the session has an id, so that the server may forget it
	fragile  bool // the SDK gives up the connection when one message cannot be written: HTTP+SSE, stdio
}

// judge says what happened, whether the tool may have run, and whether the session is lost with it.
func judge(c circumstances) (e *Error, lost bool) {
	var answer *answerError
	switch {
	case c.facts.large, errors.Is(c.cause, errTooLarge):
		return &Error{Kind: TooLarge, Ran: true}, false
	case errors.Is(c.cause, errTimeout):
		return &Error{Kind: Timeout, Ran: c.facts.sent}, false
	case errors.Is(c.cause, errClosed):
		return &Error{Kind: Closed, Ran: c.facts.sent}, false
	case errors.As(c.cause, &answer):
		e, lost = judgeAnswer(answer, c.hasID)
		e.Ran = true
		return e, lost
	case c.cause != nil:
		return &Error{Kind: Canceled, Ran: c.facts.sent}, false
	case c.facts.answer != nil:
		return judgeAnswer(c.facts.answer, c.hasID)
	case errors.As(c.err, &answer):
		return judgeAnswer(answer, c.hasID)
	case c.facts.failed != nil:
		return judgeRPC(c.facts.failed)
	case c.overflow && c.facts.sent:
		return &Error{Kind: TooLarge, Ran: true}, true
	case errors.Is(c.err, sdk.ErrConnectionClosed), errors.Is(c.err, sdk.ErrSessionMissing), c.broken:
		return &Error{Kind: Unreachable, Ran: c.facts.sent}, true
	}
	// A connection that broke, or could not be had: another may be.
	return &Error{Kind: Unreachable, Ran: c.facts.sent}, !c.facts.sent || c.fragile
}

// judgeAnswer judges an HTTP answer without an MCP message.
func judgeAnswer(a *answerError, hasID bool) (e *Error, lost bool) {
	e = &Error{Kind: HTTP, Status: a.status, RetryAfter: a.retryAfter}
	if a.rpc != nil {
		e.Code, e.Message = int(a.rpc.Code), cut(a.rpc.Message)
	}
	switch a.status {
	case http.StatusUnauthorized, http.StatusForbidden:
		e.Kind = Refused
		return e, true
	case http.StatusNotFound:
		if a.rpc != nil && a.rpc.Code == jsonrpc.CodeMethodNotFound { // as servers of 2026-07-28 answer
			return judgeRPC(a.rpc)
		}
		e.Kind = NotFound
		return e, true
	case http.StatusBadRequest:
		switch {
		case hasID && (a.rpc == nil || ofTransport(a.rpc)):
			return e, true // so the TypeScript SDK's servers answer for a session that they do not know
		case a.rpc != nil:
			return judgeRPC(a.rpc)
		}
		return e, false
	case http.StatusMethodNotAllowed, http.StatusNotAcceptable, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType,
		http.StatusTooManyRequests:
		return e, false
	}
	e.Ran = true
	switch {
	case a.large:
		e.Kind, e.Status = TooLarge, 0
	case a.status < 300 && a.rpc != nil:
		return judgeRPC(a.rpc)
	case a.status < 300:
		// HTML, mostly: of a proxy, or of a page to log in.
		e.Kind, e.Status = Protocol, 0
		return e, true
	case a.rpc != nil:
		e.Kind = Protocol
	}
	return e, false
}

// judgeRPC judges an error that the server sent as MCP wants it.
func judgeRPC(rpc *jsonrpc.Error) (e *Error, lost bool) {
	e = &Error{Kind: Protocol, Code: int(rpc.Code), Message: cut(rpc.Message), Ran: ran(rpc)}
	// The headers did not fit the tool's schema, which must have changed: a new session brings the new one (SEP-2243).
	return e, rpc.Code == sdk.CodeHeaderMismatch
}

// ofTransport reports whether the error is of the kind that servers define for themselves, or about the request as such, not about its contents.
func ofTransport(rpc *jsonrpc.Error) bool {
	return rpc.Code >= -32019 && rpc.Code <= -32000 || rpc.Code == jsonrpc.CodeInvalidRequest
}

// ran reports whether a tool may have run before the server answered with the error. Invalid params is in doubt: a tool can say so itself, late.
func ran(rpc *jsonrpc.Error) bool {
	switch rpc.Code {
	case jsonrpc.CodeParseError, jsonrpc.CodeInvalidRequest, jsonrpc.CodeMethodNotFound,
		sdk.CodeHeaderMismatch, sdk.CodeMissingRequiredClientCapabilities, sdk.CodeUnsupportedProtocolVersion:
		return false
	}
	return true
}

// again reports whether a failed call may be tried once more: when it provably did not run, or when a second run does no harm and the
// connection was at fault.
func again(e *Error, lost bool, t Tool) bool {
	switch e.Kind {
	case Unreachable:
		return !e.Ran || t.repeatable()
	case Refused, NotFound, HTTP, Protocol:
		return lost && (!e.Ran || t.repeatable())
	default:
		return false
	}
}

// judgeConnect says why a server cannot be used. No tool was called.
func judgeConnect(err, cause error) *Error {
	var rpc *jsonrpc.Error
	var answer *answerError
	var program *programError
	e, _ := judge(circumstances{err: err, cause: cause})
	switch {
	case cause == nil && errors.As(err, &program):
		e = &Error{Kind: Unreachable, Program: program.what}
	case cause != nil || e.Kind != Unreachable || errors.As(err, &answer):
	case errors.As(err, &rpc) && !ofSDK(rpc):
		e, _ = judgeRPC(rpc)
	case !unreachable(err):
		e = &Error{Kind: Protocol}
	}
	e.Ran = false
	return e
}

// ofSDK reports whether the SDK made the error itself: of a connection that ended.
func ofSDK(rpc *jsonrpc.Error) bool { return rpc.Code >= -32005 && rpc.Code <= -32003 }

// unreachable reports whether the error is of the network, or of a program that cannot be started or ended.
func unreachable(err error) bool {
	var network net.Error
	var program *exec.Error
	var file *fs.PathError
	return errors.As(err, &network) || errors.As(err, &program) || errors.As(err, &file) || errors.Is(err, io.EOF) ||
		errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, sdk.ErrConnectionClosed) || errors.Is(err, syscall.EPIPE)
}
