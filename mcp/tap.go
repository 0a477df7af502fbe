package mcp

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

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
	env       *environment
	limits    *limits

	inner   sdk.Connection
	in      chan incoming
	done    chan struct{} // closed by Close
	once    sync.Once
	version atomic.Pointer[string] // negotiated by initialize; nil: not yet, or by other means (2026-07-28)

	answers  chan struct{} // a value for each request of the server that is in work
	changing atomic.Bool   // the SDK has been told that the list of tools changed, and has not said so yet

	unsubscribed chan struct{} // closed when the server ends a subscriptions/listen
	endOnce      sync.Once

	mu      sync.Mutex // protects the fields below
	flights map[jsonrpc.ID]*flight
	methods map[jsonrpc.ID]string // of the other calls
	hurry   func()                // takes back that server/discover ends by itself; nil: it does not run
}

type incoming struct {
	msg jsonrpc.Message
	err error
}

func newTap(server string, transport sdk.Transport, pipe bool, env *environment) *tap {
	return &tap{
		transport: transport, pipe: pipe, server: server, env: env, limits: env.limits, answers: make(chan struct{}, maxAnswers),
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

// bring hands a message to the SDK, unless it need not see it. It is false when the session is closed.
func (t *tap) bring(msg jsonrpc.Message, err error) bool {
	if err == nil && !t.concerns(msg) {
		select {
		case <-t.done:
			return false
		default:
			return true
		}
	}
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

// concerns reports whether a message is for the SDK. What a server asks for is answered here: the SDK works on as much as a server sends, and waits
// with each answer until the server takes it.
func (t *tap) concerns(msg jsonrpc.Message) bool {
	switch msg := msg.(type) {
	case *jsonrpc.Response:
		return t.awaited(msg.ID)
	case *jsonrpc.Request:
		switch {
		case msg.IsCall():
			t.serve(msg)
			return false
		case msg.Method == methodChanged:
			return !t.changing.Swap(true) // one is as good as many
		}
	}
	return false // progress, logs and the like
}

// awaited reports whether there is a request of this id.
func (t *tap) awaited(id jsonrpc.ID) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, followed := t.flights[id]
	_, called := t.methods[id]
	return followed || called
}

// serve answers a request of the server. Keyturn promises nothing but ping.
// https://modelcontextprotocol.io/specification/2025-11-25/basic/utilities/ping
func (t *tap) serve(req *jsonrpc.Request) {
	if id, ok := req.ID.Raw().(string); ok && len(id) > maxID {
		t.limits.beyond(t.server, "the id of its request is too long; it gets no answer")
		return
	}
	select {
	case t.answers <- struct{}{}:
	default:
		t.limits.beyond(t.server, "too many requests at the same time; some get no answer", slog.Int("most", maxAnswers))
		return
	}
	answer := &jsonrpc.Response{ID: req.ID, Result: json.RawMessage(`{}`)}
	if req.Method != methodPing {
		answer.Result, answer.Error = nil, &jsonrpc.Error{Code: jsonrpc.CodeMethodNotFound, Message: "this client offers nothing but ping"}
	}
	go func() { // ends with the session at the latest
		defer func() { <-t.answers }()
		ctx, end := context.WithTimeout(context.Background(), answerTime)
		defer end()
		_ = t.inner.Write(ctx, answer) // into a pipe it may last until the child is killed
	}()
}

// answer notes a response, and returns what the SDK shall see of it.
func (t *tap) answer(answer *jsonrpc.Response) *jsonrpc.Response {
	t.mu.Lock()
	f, method := t.flights[answer.ID], t.methods[answer.ID]
	delete(t.flights, answer.ID)
	delete(t.methods, answer.ID)
	if method == methodDiscover && t.hurry != nil {
		t.hurry()
	}
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
		if len(answer.Result) > helloBytes {
			return &jsonrpc.Response{ID: answer.ID, Error: errTooLarge}
		}
		return answer
	}
	if int64(len(answer.Result)) > f.limit {
		f.tooLarge()
		return answer
	}
	f.note(answer)
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

// calling is the key of the id in the context of a message that wants an answer, for the round tripper.
type calling struct{}

// callOf returns the id of the message that wants an answer.
func callOf(ctx context.Context) (jsonrpc.ID, bool) {
	id, ok := ctx.Value(calling{}).(jsonrpc.ID)
	return id, ok
}

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
	ctx = context.WithValue(ctx, calling{}, req.ID)
	if req.Method == methodDiscover {
		ctx = t.hurried(ctx, req.ID)
	}
	if t.pipe {
		return t.writePipe(ctx, f, msg)
	}
	return t.inner.Write(ctx, msg)
}

// hurried is the context of a server/discover: some servers do not answer what they do not know, and are to be asked in the older way.
func (t *tap) hurried(ctx context.Context, id jsonrpc.ID) context.Context {
	ctx, end := context.WithCancelCause(ctx)
	timer := t.env.clock.AfterFunc(discoverTimeout, func() {
		end(errTimeout)
		t.bring(&jsonrpc.Response{ID: id, Error: errTimeout}, nil)
	}, "discover")
	t.mu.Lock()
	defer t.mu.Unlock()
	t.hurry = func() { timer.Stop() }
	return ctx
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

const (
	methodCancelled = "notifications/cancelled"
	methodChanged   = "notifications/tools/list_changed"
	methodDiscover  = "server/discover"
	methodPing      = "ping"
)

// discoverTimeout is how long a server has to say whether it speaks 2026-07-28.
const discoverTimeout = 3 * time.Second

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
	t.mu.Lock()
	if t.hurry != nil {
		t.hurry()
	}
	t.mu.Unlock()
	err := t.inner.Close()
	t.once.Do(func() { close(t.done) })
	return err
}

// SessionID implements sdk.Connection.
func (t *tap) SessionID() string { return t.inner.SessionID() }
