package mcp

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

const (
	connectTimeout = 10 * time.Second
	startTimeout   = 30 * time.Second // connecting to a command, which may have to install itself
	listTimeout    = 10 * time.Second
	minBackoff     = 500 * time.Millisecond
	maxBackoff     = 30 * time.Second
)

// phase is where a server is.
type phase uint8

const (
	connecting phase = iota // an attempt runs, or is about to
	up                      // there is a session
	resting                 // the last attempt failed; the next comes after a while
	ended                   // it was removed, or the catalogue closed
)

// server keeps one session to one server: one goroutine connects, lists, refreshes and connects again. Whoever needs the session waits for that
// goroutine, so that there is never more than one attempt.
type server struct {
	env  *environment
	done chan struct{} // closed when run has ended
	stop context.CancelFunc
	work *sync.WaitGroup // of the catalogue

	held  *room         // for the answers of its tools
	calls chan struct{} // a value for each call that runs

	counts counts // of its tools' calls

	mu        sync.Mutex // protects the fields below
	cfg       Server
	phase     phase
	session   *session      // in phase up
	all       []Tool        // of the last list, sorted
	tools     []Tool        // those of all that the patterns let through; never changed in place
	protocol  string        // of the last session
	software  string        // of the last session
	advice    string        // of the last session: how its tools are to be used; "": none
	heard     bool          // an attempt has ended, well or not
	down      bool          // the last one did not end well
	last      *Error        // why; or why the session before was lost
	connected bool          // there is a session, or the last one ended just now
	since     time.Time     // of the last change between connected and not
	news      chan struct{} // closed, and replaced, with every change
}

func startServer(env *environment, cfg Server, work *sync.WaitGroup) *server {
	ctx, stop := context.WithCancel(context.Background())
	v := &server{
		env: env, cfg: cfg, stop: stop, work: work, held: &room{left: max(maxHeld, cfg.MaxResultBytes)}, calls: make(chan struct{}, maxCalls),
		done: make(chan struct{}), news: make(chan struct{}), since: env.clock.Now(),
	}
	work.Go(func() { v.run(ctx) })
	return v
}

// run is the life of a server.
func (v *server) run(ctx context.Context) {
	defer close(v.done)
	wait := minBackoff
	sessions := pace{burst: burst}
	if len(v.config().Command) > 0 {
		sessions.burst = burstChild
	}
	for ctx.Err() == nil {
		s, tools, age, err := v.open(ctx)
		if err != nil {
			v.failed(ctx, err)
			if !sleep(ctx, v.env.clock, max(wait, min(err.RetryAfter, maxBackoff))) {
				break
			}
			wait = min(2*wait, maxBackoff)
			v.change(func() { v.phase = connecting })
			continue
		}
		wait = minBackoff
		v.opened(s, tools)
		v.keep(ctx, s, age)
		v.change(func() {
			v.session = nil
			v.phase = connecting
		})
		v.work.Go(s.close) // when its calls have ended
		if rest := sessions.wait(v.env.clock.Now()); rest > 0 {
			v.env.limits.beyond(s.cfg.Name, "too many sessions that end at once; the next ones wait")
			sleep(ctx, v.env.clock, rest)
		}
	}
	v.change(func() {
		v.phase, v.down = ended, true
		v.setConnected(false)
	})
}

// open makes a session and fetches the tools.
func (v *server) open(ctx context.Context) (*session, []Tool, time.Duration, *Error) {
	cfg := v.config()
	timeout := connectTimeout
	if len(cfg.Command) > 0 {
		timeout = startTimeout
	}
	bounded, end := v.env.withTimeout(ctx, timeout)
	defer end(nil)
	begun := v.env.clock.Now()
	s, err := open(bounded, v.env, cfg, v.held)
	var failure *Error
	if err != nil {
		failure = judgeConnect(err, context.Cause(bounded))
	}
	v.measure(ctx, methodInitialize, begun, failure)
	if failure != nil {
		return nil, nil, 0, failure
	}
	tools, age, failure := v.list(ctx, s)
	if failure != nil {
		s.abort(errAborted)
		s.close()
		return nil, nil, 0, failure
	}
	return s, tools, age, nil
}

// list fetches the tools of a session, and how long they are good for.
func (v *server) list(ctx context.Context, s *session) ([]Tool, time.Duration, *Error) {
	ctx, end := v.env.withTimeout(ctx, listTimeout)
	defer end(nil)
	begun := v.env.clock.Now()
	tools, age, failure := s.list(ctx)
	v.measure(ctx, methodList, begun, failure)
	if age == 0 {
		age = v.config().Refresh
	}
	return tools, age, failure
}

func (v *server) measure(ctx context.Context, method string, begun time.Time, failure *Error) {
	kind := ""
	if failure != nil {
		kind = failure.Kind.String()
	}
	v.env.measure(context.WithoutCancel(ctx), v.config().Name, method, kind, v.env.clock.Now().Sub(begun).Seconds())
}

// keep refreshes the tools until the session is lost, or the server stopped.
func (v *server) keep(ctx context.Context, s *session, age time.Duration) {
	listed := v.env.clock.Now()
	var changes listPace
	timer := v.env.clock.NewTimer(age, "refresh")
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.gone:
			return
		case <-s.dead:
			v.lose(s, &Error{Kind: Unreachable, Program: s.prog.ended()})
			return
		case <-s.changed: // soon, but a server that says so all the time is not asked all the time
			timer.Reset(changes.change(v.env.clock.Now().Sub(listed)))
			continue
		case <-s.doubt:
		case <-timer.C():
		}
		tools, age, failure := v.list(ctx, s)
		listed = v.env.clock.Now()
		changes.listed()
		switch {
		case ctx.Err() != nil:
			return
		case failure != nil:
			v.lose(s, failure)
			return
		case s.deaf.Load():
			v.lose(s, nil)
			return
		}
		v.refreshed(s, tools)
		timer.Reset(age)
	}
}

// opened notes a new session.
func (v *server) opened(s *session, tools []Tool) {
	v.change(func() {
		v.session, v.phase, v.heard, v.down = s, up, true, false
		v.introducedLocked(s)
		v.advice = limited(s.cs.InitializeResult().Instructions, maxInstructions)
		v.setTools(tools)
		v.setConnected(true)
	})
	v.env.log.Info("MCP server connected", slog.String("server", s.cfg.Name), slog.String("version", s.version()), slog.Int("tools", len(tools)))
}

func (v *server) refreshed(s *session, tools []Tool) {
	v.change(func() {
		if v.session == s {
			v.setTools(tools)
		}
	})
}

// failed notes that no session could be had.
func (v *server) failed(ctx context.Context, e *Error) {
	if ctx.Err() != nil {
		return
	}
	var first bool
	v.change(func() {
		e.Server = v.cfg.Name
		first = !v.down || v.last == nil || v.last.Kind != e.Kind
		v.phase, v.heard, v.down, v.last = resting, true, true, e
		v.setConnected(false)
	})
	if first { // not at each attempt
		v.env.log.Warn("MCP server cannot be used; its tools are not offered", slog.String("server", e.Server), slog.String("error", e.Error()))
	}
}

// lose gives a session up: run makes another. Its tools stay until that fails. Calls on the old one go on.
func (v *server) lose(s *session, e *Error) {
	v.change(func() {
		if v.session == s {
			v.session, v.phase = nil, connecting
			if e != nil {
				copied := *e // the caller's goes on to whoever called
				v.last = &copied
			}
		}
	})
	s.lose()
}

// acquire returns the session with a call begun on it, or why there is none. It waits for an attempt that runs, not for one that is to come.
func (v *server) acquire(ctx context.Context) (*session, *Error) {
	for {
		v.mu.Lock()
		at, s, last, news := v.phase, v.session, v.last, v.news
		v.mu.Unlock()
		switch {
		case at == up && s.begin():
			return s, nil
		case at == ended:
			return nil, &Error{Kind: NotFound}
		case at == resting:
			e := *last
			e.Ran = false
			return nil, &e
		}
		select {
		case <-news:
		case <-ctx.Done():
			e, _ := judge(circumstances{cause: context.Cause(ctx)})
			return nil, e
		}
	}
}

// tool returns a tool that is offered.
func (v *server) tool(name string) (Tool, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, t := range v.tools {
		if t.Name == name {
			return t, true
		}
	}
	return Tool{}, false
}

// offered returns the tools to offer, and whether the server has been heard of.
func (v *server) offered() (tools []Tool, heard bool, news <-chan struct{}) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.down {
		tools = v.tools
	}
	return tools, v.heard, v.news
}

// instructions are what the server says about the use of its tools, if it offers some.
func (v *server) instructions() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.down || len(v.tools) == 0 {
		return ""
	}
	return v.advice
}

func (v *server) config() Server {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.cfg
}

// configure takes over what does not need another session.
func (v *server) configure(cfg Server) {
	v.change(func() {
		v.cfg = cfg
		v.setTools(v.all)
	})
}

func (v *server) status() ServerStatus {
	v.mu.Lock()
	defer v.mu.Unlock()
	st := ServerStatus{Name: v.cfg.Name, Connected: v.phase == up, Since: v.since}
	if !v.down {
		st.Tools = len(v.tools)
	}
	if v.last != nil {
		st.LastError = v.last.Kind.String()
	}
	return st
}

// change changes the state and tells those who wait.
func (v *server) change(f func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	f()
	close(v.news)
	v.news = make(chan struct{})
}

// setTools is called in change.
func (v *server) setTools(all []Tool) {
	v.all = all
	v.tools = nil
	left := 0
	for _, t := range all {
		switch {
		case !v.cfg.offers(t.Name):
		case len(v.tools) == v.cfg.MaxTools:
			left++
		default:
			v.tools = append(v.tools, t)
		}
	}
	if left > 0 {
		v.env.limits.beyond(v.cfg.Name, "more tools than max_tools; the last by name are left out", slog.Int("most", v.cfg.MaxTools), slog.Int("left_out", left))
	}
}

// setConnected is called in change.
func (v *server) setConnected(connected bool) {
	if v.connected != connected {
		v.connected, v.since = connected, v.env.clock.Now()
	}
}

// withTimeout is context.WithTimeout on the catalogue's clock; the cause is errTimeout.
func (env *environment) withTimeout(ctx context.Context, d time.Duration) (context.Context, context.CancelCauseFunc) {
	ctx, end := context.WithCancelCause(ctx)
	timer := env.clock.AfterFunc(d, func() { end(errTimeout) }, "timeout")
	return ctx, func(cause error) {
		timer.Stop()
		end(cause)
	}
}
