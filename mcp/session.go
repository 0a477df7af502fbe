package mcp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/quartz"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

const (
	// How long the other side has to hear that a session ends, and that a call is cancelled. These courtesies are in real time, as the SDK's own
	// are: the clock is for what a caller sees.
	closeGrace  = 2 * time.Second
	cancelGrace = 5 * time.Second

	resubscribe = time.Minute
	maxPages    = 1000
	maxTools    = 10_000
	stateless   = "2026-07-28" // the first version without sessions and without the GET stream
)

// session is one live session of the SDK. Calls begin and end on it; it closes when it is told to and the last has ended.
type session struct {
	cfg   Server
	clock quartz.Clock
	cs    *sdk.ClientSession
	tap   *tap
	http  *http.Client // nil: stdio
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
	idle    chan struct{} // closed when closing and no call runs
}

// open connects to a server. The context bounds the connecting, not the session.
func open(ctx context.Context, env *environment, cfg Server) (*session, error) {
	if len(cfg.Command) > 0 {
		return connect(ctx, env, cfg, "")
	}
	if cfg.Transport != "" {
		return connect(ctx, env, cfg, cfg.Transport)
	}
	s, err := connect(ctx, env, cfg, streamable)
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
	if old, oldErr := connect(ctx, env, cfg, sseOnly); oldErr == nil {
		return old, nil
	}
	return nil, err
}

// connect makes a session over one transport; "" is stdio.
func connect(ctx context.Context, env *environment, cfg Server, transport string) (*session, error) {
	s := &session{
		cfg: cfg, clock: env.clock, fragile: transport != streamable,
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
		Capabilities:           &sdk.ClientCapabilities{}, // nil would promise roots
		MultiRoundTrip:         &sdk.MultiRoundTripOptions{Disabled: true},
		ToolListChangedHandler: func(context.Context, *sdk.ToolListChangedRequest) { signal(s.changed) },
	})
	// The SDK binds streams to the context of Connect, or to none: only the session's life may end them.
	stop := context.AfterFunc(ctx, func() { s.abort(context.Cause(ctx)) })
	cs, err := client.Connect(s.life, s.tap, nil)
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
		s.tap = newTap(s.cfg.Name, &childTransport{cfg: s.cfg, env: env, life: s.life, large: large}, true)
		return nil
	}
	origin, err := url.Parse(s.cfg.URL)
	if err != nil {
		return errors.New("not a URL")
	}
	s.pool = newHTTP()
	road := &carrier{next: s.pool, origin: *origin, headers: s.cfg.Headers, life: s.life, event: listBytes, large: func() {}}
	s.http = road.client()
	if transport == sseOnly {
		s.tap = newTap(s.cfg.Name, &sdk.SSEClientTransport{Endpoint: s.cfg.URL, HTTPClient: s.http, MaxEventSize: -1}, false)
		road.event, road.large = max(listBytes, s.cfg.MaxResultBytes)+lineRoom, large
		return nil
	}
	s.tap = newTap(s.cfg.Name, &sdk.StreamableClientTransport{
		Endpoint: s.cfg.URL, HTTPClient: s.http, MaxEventSize: -1, DisableStandaloneSSE: true,
	}, false)
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
func (s *session) list(ctx context.Context, log *slog.Logger) (tools []Tool, ttl time.Duration, failure *Error) {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	seen := map[string]bool{}
	bad := 0
	for cursor := ""; ; {
		f := &flight{list: true, limit: listBytes, end: end}
		known, err := s.cs.ListTools(withFlight(ctx, f), &sdk.ListToolsParams{Cursor: cursor})
		s.landed(ctx, f)
		if err != nil {
			failure, _ := judge(s.circumstances(ctx, err, f.facts()))
			failure.Ran = false
			return nil, 0, failure
		}
		p, err := parsePage(s.cfg.Name, f.facts().result)
		if err != nil {
			return nil, 0, &Error{Kind: Protocol, Message: err.Error()}
		}
		valid := make(map[string]bool, len(known.Tools))
		for _, t := range known.Tools {
			valid[t.Name] = true
		}
		for _, t := range p.tools {
			if valid[t.Name] {
				tools = append(tools, t)
			} else {
				bad++ // its x-mcp-header annotations are not valid: clients must refuse it (SEP-2243)
			}
		}
		bad += p.bad
		if p.ttl > 0 && (ttl == 0 || p.ttl < ttl) {
			ttl = p.ttl
		}
		if cursor = p.next; cursor == "" {
			break
		}
		if seen[cursor] || len(seen) == maxPages || len(tools) > maxTools {
			return nil, 0, &Error{Kind: Protocol, Message: fmt.Sprintf("the list of tools does not end: %d pages, %d tools", len(seen)+1, len(tools))}
		}
		seen[cursor] = true
	}
	if bad > 0 {
		log.Warn("tools left out: their definitions are not valid", slog.String("server", s.cfg.Name), slog.Int("tools", bad))
	}
	return order(tools), ttl, nil
}

// call runs a tool once. lost means that the session is of no more use.
func (s *session) call(ctx context.Context, tool string, args json.RawMessage, meta sdk.Meta) (_ *Result, failure *Error, lost bool) {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	f := &flight{limit: s.cfg.MaxResultBytes, end: end}
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
	return nil, failure, lost
}

// landed is called when a request is over. A server that still works on it is told that it need not.
func (s *session) landed(ctx context.Context, f *flight) {
	s.tap.forget(f)
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
func sleep(ctx context.Context, clock quartz.Clock, d time.Duration) bool {
	timer := clock.NewTimer(d, "sleep")
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
