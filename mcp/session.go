package mcp

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

const (
	// How long the other side has to hear that a session ends, and that a call is cancelled. These courtesies are in real time, as the SDK's own
	// are: the clock is for what a caller sees.
	closeGrace  = 2 * time.Second
	cancelGrace = 5 * time.Second

	resubscribe = time.Minute
	maxPages    = 1000         // of a list of tools
	maxTools    = 10_000       // that a list may name
	stateless   = "2026-07-28" // the first version without sessions and without the GET stream
	legacy      = "2025-11-25" // the last version before it
)

// session is one live session of the SDK. Calls begin and end on it; it closes when it is told to and the last has ended.
type session struct {
	cfg   Server
	clock clock
	cs    *sdk.ClientSession
	tap   *tap
	held  *room           // for the server's answers
	http  *http.Client    // nil: stdio
	prog  *childTransport // nil: not stdio
	pool  *http.Transport

	fragile bool // see circumstances

	life  context.Context // ends when the session is given up
	abort context.CancelCauseFunc
	hear  context.Context // ends before: when nobody cares any more what the server tells by itself
	quiet context.CancelFunc
	work  sync.WaitGroup // the goroutines of this session
	tells sync.WaitGroup // those that tell the server of a cancelled call

	dead     chan struct{} // closed when the SDK has no connection any more
	gone     chan struct{} // closed by lose
	loseOnce sync.Once
	large    atomic.Bool   // a message over the limit broke the connection
	deaf     atomic.Bool   // the server tells of no changes, for a while now
	changed  chan struct{} // holds one value when the server's list of tools changed
	doubt    chan struct{} // holds one value when the server should be asked whether it is still there

	mu      sync.Mutex // protects the fields below
	calls   int
	closing bool
	idle    chan struct{}   // closed when closing and no call runs
	cursors map[string]bool // of the pages that the SDK has seen, and keeps
}

// open connects to a server. The context bounds the connecting, not the session.
func open(ctx context.Context, env *environment, cfg Server, held *room) (*session, error) {
	if len(cfg.Command) > 0 {
		return openChild(ctx, env, cfg, held)
	}
	if cfg.Transport != "" {
		return connect(ctx, env, cfg, held, cfg.Transport, versionOf(cfg.Transport))
	}
	s, err := connect(ctx, env, cfg, held, streamable, "")
	// https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#backwards-compatibility
	var answer *answerError
	if !errors.As(err, &answer) {
		return s, err
	}
	switch answer.status {
	case http.StatusBadRequest, http.StatusNotFound, http.StatusMethodNotAllowed:
	default:
		return nil, err
	}
	if old, oldErr := connect(ctx, env, cfg, held, sseOnly, legacy); oldErr == nil {
		return old, nil
	}
	return nil, err
}

// openChild starts a command. The first message that it gets is initialize, as all servers expect it that are not of 2026 or later: some of them end
// when another comes, or do not answer. One that refuses it is started once more, for server/discover.
// https://modelcontextprotocol.io/specification/2025-11-25/basic/lifecycle#initialization
func openChild(ctx context.Context, env *environment, cfg Server, held *room) (*session, error) {
	s, err := connect(ctx, env, cfg, held, "", legacy)
	var refused *jsonrpc.Error
	if !errors.As(err, &refused) || ofSDK(refused) || ctx.Err() != nil {
		return s, err
	}
	if modern, modernErr := connect(ctx, env, cfg, held, "", ""); modernErr == nil {
		return modern, nil
	}
	return nil, err
}

// versionOf is the version to begin with on a transport.
func versionOf(transport string) string {
	if transport == streamable {
		return "" // the latest; server/discover is a request that may fail alone
	}
	return legacy
}

// connect makes a session over one transport; "" is stdio. It begins with initialize and a version before 2026-07-28, or with server/discover for "".
func connect(ctx context.Context, env *environment, cfg Server, held *room, transport, version string) (*session, error) {
	s := &session{
		cfg: cfg, clock: env.clock, held: held, fragile: transport != streamable, cursors: map[string]bool{},
		dead: make(chan struct{}), gone: make(chan struct{}), idle: make(chan struct{}),
		changed: make(chan struct{}, 1), doubt: make(chan struct{}, 1),
	}
	s.life, s.abort = context.WithCancelCause(context.Background())
	s.hear, s.quiet = context.WithCancel(s.life)
	if err := s.prepare(env, transport); err != nil {
		s.abort(errAborted)
		return nil, err
	}
	client := sdk.NewClient(&sdk.Implementation{Name: "keyturn", Version: env.version}, &sdk.ClientOptions{
		Capabilities:   &sdk.ClientCapabilities{}, // nil would promise roots
		MultiRoundTrip: &sdk.MultiRoundTripOptions{Disabled: true},
		ToolListChangedHandler: func(context.Context, *sdk.ToolListChangedRequest) {
			s.tap.changing.Store(false)
			signal(s.changed)
		},
	})
	// The SDK binds streams to the context of Connect, or to none: only the session's life may end them.
	stop := context.AfterFunc(ctx, func() { s.abort(context.Cause(ctx)) })
	cs, err := client.Connect(s.life, s.tap, &sdk.ClientSessionOptions{ProtocolVersion: version})
	if !stop() && err == nil { // too late: the session is ending
		err = context.Cause(ctx)
	}
	if err != nil {
		s.abort(errAborted)
		if cs != nil {
			_ = cs.Close()
		}
		_ = s.tap.Close() // of a session that did not come about the SDK leaves some open
		s.closePool()
		if how := s.prog.ended(); how != "" {
			err = &programError{how, err}
		}
		return nil, err
	}
	s.cs = cs
	s.work.Go(func() {
		_ = cs.Wait()
		close(s.dead)
	})
	switch {
	case transport == streamable && s.version() < stateless:
		s.work.Go(s.listen)
	case s.version() >= stateless:
		s.work.Go(s.watch)
	}
	return s, nil
}

// prepare makes the transport.
func (s *session) prepare(env *environment, transport string) error {
	large := func() { s.large.Store(true) }
	if transport == "" {
		s.prog = &childTransport{cfg: s.cfg, env: env, life: s.life, large: large}
		s.tap = newTap(s.cfg.Name, s.prog, true, env)
		return nil
	}
	origin, err := url.Parse(s.cfg.URL)
	if err != nil {
		return errors.New("not a URL")
	}
	s.pool = newHTTP()
	road := &carrier{next: s.pool, origin: *origin, headers: s.cfg.Headers, life: s.life, event: eventBytes, large: func() {}}
	s.http = road.client()
	if transport == sseOnly {
		s.tap = newTap(s.cfg.Name, &sdk.SSEClientTransport{Endpoint: s.cfg.URL, HTTPClient: s.http, MaxEventSize: -1}, false, env)
		road.event, road.large = max(listBytes, s.cfg.MaxResultBytes)+lineRoom, large
		return nil
	}
	s.tap = newTap(s.cfg.Name, &sdk.StreamableClientTransport{
		Endpoint: s.cfg.URL, HTTPClient: s.http, MaxEventSize: -1, DisableStandaloneSSE: true,
	}, false, env)
	road.tap = s.tap
	return nil
}

// version is the protocol version that was agreed on.
func (s *session) version() string { return s.cs.InitializeResult().ProtocolVersion }

// watch follows the subscription by which a server without a GET stream tells of changes. When the server ends it, the server may be gone; if it is
// not, a new session subscribes again, but not at once: some servers promise to tell and end every subscription.
func (s *session) watch() {
	select {
	case <-s.tap.unsubscribed:
		s.suspect()
	case <-s.hear.Done():
		return
	}
	if sleep(s.hear, s.clock, resubscribe) {
		s.deaf.Store(true)
		s.suspect()
	}
}

// suspect has the server asked whether it is still there.
func (s *session) suspect() { signal(s.doubt) }

// lose says that the session is of no more use.
func (s *session) lose() { s.loseOnce.Do(func() { close(s.gone) }) }

// begin announces a call. It is false when the session is of no more use.
func (s *session) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return false
	}
	s.calls++
	return true
}

func (s *session) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.calls--; s.calls == 0 && s.closing {
		close(s.idle)
	}
}

// close ends the session when its running calls have ended, and waits for all that belongs to it.
func (s *session) close() {
	s.mu.Lock()
	if !s.closing {
		s.closing = true
		if s.calls == 0 {
			close(s.idle)
		}
	}
	s.mu.Unlock()
	<-s.idle
	patience := time.AfterFunc(closeGrace, func() { s.abort(errAborted) })
	s.quiet()
	s.tells.Wait()
	_ = s.cs.Close()
	patience.Stop()
	s.abort(errAborted)
	s.work.Wait()
	s.closePool()
}

func (s *session) closePool() {
	if s.pool != nil {
		s.pool.CloseIdleConnections()
	}
}

// list fetches the whole list of tools, sorted, and how long it is good for (0: the server does not say).

// call runs a tool once. lost means that the session is of no more use.
func (s *session) call(ctx context.Context, tool string, args json.RawMessage, meta sdk.Meta) (_ *Result, failure *Error, lost bool) {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	f := &flight{limit: s.cfg.MaxResultBytes, end: end, room: s.held}
	_, err := s.cs.CallTool(withFlight(ctx, f), &sdk.CallToolParams{Meta: meta, Name: tool, Arguments: args})
	s.landed(ctx, f)
	known := f.facts()
	if known.result != nil && !known.large {
		r, err := parseResult(known.result)
		if err != nil {
			return nil, &Error{Kind: Protocol, Message: err.Error(), Ran: true}, false
		}
		return r, nil, false
	}
	failure, lost = judge(s.circumstances(ctx, err, known))
	if failure.Kind == Unreachable {
		failure.Program = s.prog.ended()
	}
	return nil, failure, lost
}

// landed is called when a request is over. A server that still works on it is told that it need not.
func (s *session) landed(ctx context.Context, f *flight) {
	s.tap.forget(f)
	if f.land() {
		s.tap.limits.beyond(s.cfg.Name, "too many bytes of answers at the same time; some are cut off", slog.Int64("most", maxHeld))
	}
	known := f.facts()
	if ctx.Err() == nil || !known.sent || known.result != nil || known.failed != nil || known.answer != nil {
		return
	}
	s.tells.Go(func() {
		ctx, stop := context.WithTimeout(s.life, cancelGrace)
		defer stop()
		s.tap.cancel(ctx, f)
	})
}

func (s *session) circumstances(ctx context.Context, err error, known facts) circumstances {
	return circumstances{
		err: err, cause: context.Cause(ctx), facts: known,
		broken: s.broken(), overflow: s.large.Load(), hasID: s.tap.SessionID() != "", fragile: s.fragile,
	}
}

// broken reports whether the SDK has given up the connection.
func (s *session) broken() bool {
	select {
	case <-s.dead:
		return true
	default:
		return false
	}
}

// signal puts a value into a channel that holds one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// sleep waits on the clock. It is false when the context ended first.
func sleep(ctx context.Context, clock clock, d time.Duration) bool {
	timer := clock.NewTimer(d, "sleep")
	defer timer.Stop()
	select {
	case <-timer.C():
		return true
	case <-ctx.Done():
		return false
	}
}
