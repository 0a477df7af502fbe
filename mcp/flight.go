package mcp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
)

// The reasons for which a context of this package ends, besides the caller's own.
var (
	errTimeout  = errors.New("the time is over")
	errTooLarge = errors.New("the answer is too large")
	errClosed   = errors.New("the catalogue was closed")
	errAborted  = errors.New("the session was given up")
)

// flight is one request on its way: what the parts below the SDK learn about it and the SDK does not tell. It travels in the request's context.
type flight struct {
	list  bool                    // it is a tools/list
	limit int64                   // bytes of the answer
	end   context.CancelCauseFunc // ends the request
	room  *room                   // for the bytes of the answer; nil: they are few

	mu     sync.Mutex // protects the fields below
	id     jsonrpc.ID
	sent   bool            // all of the request may have left this process
	result json.RawMessage // as the server sent it; nil: none came
	failed *jsonrpc.Error  // the error that came instead
	answer *answerError    // what the request got, if it was no message
	large  bool            // the answer was over the limit
	held   int64           // bytes that were taken of room
	full   bool            // room had too few
	landed bool            // the request is over
}

type flightKey struct{}

func withFlight(ctx context.Context, f *flight) context.Context {
	return context.WithValue(ctx, flightKey{}, f)
}

// flightOf returns the flight of a request, nil for those that nobody follows.
func flightOf(ctx context.Context) *flight {
	f, _ := ctx.Value(flightKey{}).(*flight)
	return f
}

func (f *flight) setID(id jsonrpc.ID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.id = id
}

// setSent notes whether the request has left. It may go back: a connection that broke before anything was written is replaced by another.
func (f *flight) setSent(sent bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sent = sent
}

// tooLarge ends the request because of its answer's size.
func (f *flight) tooLarge() {
	f.mu.Lock()
	f.large = true
	f.mu.Unlock()
	f.end(errTooLarge)
}

// hold takes n bytes of the room for answers. It is false when there is none. What comes when the request is over, nobody keeps.
func (f *flight) hold(n int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.room == nil || f.landed {
		return true
	}
	if f.full = f.full || !f.room.take(int64(n)); f.full {
		return false
	}
	f.held += int64(n)
	return true
}

// land gives back what hold took, and reports whether there was too little room.
func (f *flight) land() (full bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.room != nil {
		f.room.give(f.held)
	}
	f.held, f.landed = 0, true
	return f.full
}

// refuse notes that the request got an answer without a message.
func (f *flight) refuse(answer *answerError) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answer = answer
}

// note notes the answer.
func (f *flight) note(answer *jsonrpc.Response) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if answer.Error == nil {
		f.result = answer.Result
		return
	}
	errors.As(answer.Error, &f.failed) // those that the SDK makes itself, such as that of a stream that ended early, are of another type
}

// over reports whether there was an answer.
func (f *flight) over() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.result != nil || f.failed != nil
}

// facts is what a flight knew when it was over.
type facts struct {
	sent, large bool
	result      json.RawMessage
	failed      *jsonrpc.Error
	answer      *answerError
}

func (f *flight) facts() facts {
	f.mu.Lock()
	defer f.mu.Unlock()
	return facts{sent: f.sent, large: f.large, result: f.result, failed: f.failed, answer: f.answer}
}

// answerError is an HTTP answer that carries no MCP message. The round tripper returns it as an error: on such an answer the SDK would give up the
// whole session, while a request that could not be made fails alone.
type answerError struct {
	status     int // 200: the body was not what it should be
	retryAfter time.Duration
	rpc        *jsonrpc.Error // of the body; nil: none
	large      bool
}

func (e *answerError) Error() string {
	if e.large {
		return errTooLarge.Error()
	}
	return fmt.Sprintf("answered with status %d and no MCP message", e.status)
}

// Unwrap returns the JSON-RPC error of the body: the SDK reads supported versions from it.
func (e *answerError) Unwrap() error {
	if e.rpc == nil {
		return nil
	}
	return e.rpc
}
