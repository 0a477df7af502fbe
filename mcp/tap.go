package mcp

import (
	"context"
	"encoding/json"
	"io"
	"sync"
	"sync/atomic"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

// tap stands between the SDK's session and its transport, and sees every message. It keeps the results of followed requests as the bytes that the
// server sent, since the SDK would decode schemas and structured content into maps; and it brings in what listen reads, since the SDK hides a
// connection's state from one that is wrapped.
type tap struct {
	transport sdk.Transport
	pipe      bool   // the messages go to a child's stdin, so that writing is sending
	server    string // its name

	inner   sdk.Connection
	in      chan incoming
	done    chan struct{} // closed by Close
	once    sync.Once
	version atomic.Pointer[string] // negotiated by initialize; nil: not yet, or by other means (2026-07-28)

	unsubscribed chan struct{} // closed when the server ends a subscriptions/listen
	endOnce      sync.Once

	mu      sync.Mutex // protects the fields below
	flights map[jsonrpc.ID]*flight
	methods map[jsonrpc.ID]string // of the other calls
}

type incoming struct {
	msg jsonrpc.Message
	err error
}

func newTap(server string, transport sdk.Transport, pipe bool) *tap {
	return &tap{
		transport: transport, pipe: pipe, server: server,
		in: make(chan incoming), done: make(chan struct{}), unsubscribed: make(chan struct{}),
		flights: map[jsonrpc.ID]*flight{}, methods: map[jsonrpc.ID]string{},
	}
}

// Connect implements sdk.Transport.
func (t *tap) Connect(ctx context.Context) (sdk.Connection, error) {
	inner, err := t.transport.Connect(ctx)
	if err != nil {
		return nil, err
	}
	t.inner = inner
	go t.pump(inner) //nolint:gosec // it serves the connection, which outlives Connect
	return t, nil
}

// pump carries messages from the transport until it ends, which Close brings about.
func (t *tap) pump(inner sdk.Connection) {
	for {
		msg, err := inner.Read(context.Background())
		if !t.bring(msg, err) || err != nil {
			return
		}
	}
}

// bring hands a message to the SDK. It is false when the session is closed.
func (t *tap) bring(msg jsonrpc.Message, err error) bool {
	select {
	case t.in <- incoming{msg, err}:
		return true
	case <-t.done:
		return false
	}
}

// Read implements sdk.Connection.
func (t *tap) Read(ctx context.Context) (jsonrpc.Message, error) {
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-t.done:
		return nil, io.EOF
	case got := <-t.in:
		if answer, ok := got.msg.(*jsonrpc.Response); ok && got.err == nil {
			return t.answer(answer), nil
		}
		return got.msg, got.err
	}
}

// answer notes a response, and returns what the SDK shall see of it.
func (t *tap) answer(answer *jsonrpc.Response) *jsonrpc.Response {
	t.mu.Lock()
	f, method := t.flights[answer.ID], t.methods[answer.ID]
	delete(t.flights, answer.ID)
	delete(t.methods, answer.ID)
	t.mu.Unlock()
	switch method {
	case "initialize":
		var result struct {
			Version string `json:"protocolVersion"`
		}
		if json.Unmarshal(answer.Result, &result) == nil && result.Version != "" {
			t.version.Store(&result.Version)
		}
	case "subscriptions/listen":
		t.endOnce.Do(func() { close(t.unsubscribed) })
	}
	if f == nil {
		return answer
	}
	if int64(len(answer.Result)) > f.limit {
		f.tooLarge()
		return answer
	}
	f.land(answer)
	if answer.Error != nil {
		return answer
	}
	seen := *answer
	seen.Result = json.RawMessage(`{"content":[]}`)
	if f.list {
		seen.Result = json.RawMessage(`{"tools":[]}`)
		if p, err := parsePage(t.server, answer.Result); err == nil {
			seen.Result = p.trim
		}
	}
	return &seen
}

// calling marks the context of a message that wants an answer, for the round tripper.
type calling struct{}

// Write implements sdk.Connection.
func (t *tap) Write(ctx context.Context, msg jsonrpc.Message) error {
	req, ok := msg.(*jsonrpc.Request)
	if !ok || !req.IsCall() {
		if ok && req.Method == methodCancelled && flightOf(ctx) != nil {
			return nil // cancel sends it: the SDK's own is lost when the session closes at the same time
		}
		if t.pipe {
			return t.writePipe(ctx, nil, msg)
		}
		return t.inner.Write(ctx, msg)
	}
	f := flightOf(ctx)
	t.mu.Lock()
	if f != nil {
		t.flights[req.ID] = f
	} else {
		t.methods[req.ID] = req.Method
	}
	t.mu.Unlock()
	if f != nil {
		f.setID(req.ID)
	}
	ctx = context.WithValue(ctx, calling{}, true)
	if t.pipe {
		return t.writePipe(ctx, f, msg)
	}
	return t.inner.Write(ctx, msg)
}

// writePipe writes a call to a child, which may not be reading: the pipe's own write would not end with the context.
func (t *tap) writePipe(ctx context.Context, f *flight, msg jsonrpc.Message) error {
	note := func(sent bool) {
		if f != nil {
			f.setSent(sent)
		}
	}
	note(true)
	wrote := make(chan error, 1)
	go func() { wrote <- t.inner.Write(ctx, msg) }() // ends at the latest when the child is killed
	select {
	case err := <-wrote:
		if err != nil {
			note(false) // the line's end was not written, so the child has no message
		}
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-t.done:
		return io.EOF
	}
}

// cancel tells the server that nobody waits for a call any more.
// https://modelcontextprotocol.io/specification/2025-11-25/basic/utilities/cancellation
func (t *tap) cancel(ctx context.Context, f *flight) {
	f.mu.Lock()
	id := f.id
	f.mu.Unlock()
	params, err := json.Marshal(map[string]any{"requestId": id.Raw(), "reason": "nobody waits for the result"})
	if err == nil {
		_ = t.Write(ctx, &jsonrpc.Request{Method: methodCancelled, Params: params})
	}
}

const methodCancelled = "notifications/cancelled"

// forget drops a flight whose answer nobody awaits.
func (t *tap) forget(f *flight) {
	f.mu.Lock()
	id := f.id
	f.mu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.flights[id] == f {
		delete(t.flights, id)
	}
}

// Close implements sdk.Connection.
func (t *tap) Close() error {
	if t.inner == nil {
		return nil
	}
	err := t.inner.Close()
	t.once.Do(func() { close(t.done) })
	return err
}

// SessionID implements sdk.Connection.
func (t *tap) SessionID() string { return t.inner.SessionID() }
