package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/coder/quartz"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/keyturn/keyturn/internal/dialect"
	"github.com/keyturn/keyturn/mcp"
)

// keepAlive is how long a client that streams hears nothing before it is sent something to read over. Envoy, load balancers and
// clients give a silent stream up after 30 s at the earliest.
const keepAlive = 10 * time.Second

// maxParallel bounds the calls of one turn that run at the same time.
const maxParallel = 16

// maxAgain bounds how often turns of one response are run again because they failed before they showed anything. Each time a
// key was marked, so the pool ends it sooner.
const maxAgain = 16

// Config is what an Agent needs.
type Config struct {
	// Call runs a tool: mcp.Catalogue's Call. It returns when ctx ends.
	Call func(ctx context.Context, server, tool string, arguments json.RawMessage) (*mcp.Result, error)
	// Loopback sends a request through Envoy's loopback listener: NewTransport's.
	Loopback http.RoundTripper
	// Log gets a line when the loopback listener cannot be reached. Nil discards it.
	Log *slog.Logger
	// Clock measures limits and keep-alives. Nil means the real one.
	Clock quartz.Clock
	// TracerProvider and MeterProvider make spans and instruments. Nil makes none.
	TracerProvider trace.TracerProvider
	MeterProvider  metric.MeterProvider
}

// Agent runs loops. It holds no state of a single one, and may be used from any goroutine.
type Agent struct {
	call     func(context.Context, string, string, json.RawMessage) (*mcp.Result, error)
	loopback http.RoundTripper
	log      *slog.Logger
	clock    quartz.Clock
	watch    *watch
}

// New makes an Agent.
func New(cfg Config) (*Agent, error) {
	if cfg.Clock == nil {
		cfg.Clock = quartz.NewReal()
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	w, err := newWatch(cfg.TracerProvider, cfg.MeterProvider, cfg.Clock)
	if err != nil {
		return nil, fmt.Errorf("instruments: %w", err)
	}
	return &Agent{call: cfg.Call, loopback: cfg.Loopback, log: cfg.Log, clock: cfg.Clock, watch: w}, nil
}

// Limits bound one response. All are above zero.
type Limits struct {
	Turns       int           // turns, the client's own request included; in the last the model may call no tools. At least 2
	Calls       int           // calls of Keyturn's tools
	Time        time.Duration // from the client's request on; calls that run then are cut short, and the next turn is the last
	ResultBytes int64         // what one call's result may bring to the model; the rest is cut off
	MaxBody     int64         // the largest request or answer, in bytes
}

// Response is one response to a client that is not over with its first turn.
type Response struct {
	Session dialect.Session
	Origin  Origin
	Limits  Limits
	// Began is when the client's request came.
	Began time.Time
	// Emit hands bytes to a client that streams. It keeps nothing of p. Its error ends the loop; ErrNoRoom with an error that is
	// emitted too, for the client to read.
	Emit func(p []byte) error
	// Judge is told of a turn that failed within a 200 before it showed anything, with the name of its key ("" for the first
	// turn). It marks the key, and returns whether the turn is to be run again.
	Judge func(key string, f *dialect.Failure) bool

	// What came of it, for records; written until Stream or Whole returns.
	Turns int // turns that were begun
	Calls int // calls that were run or refused
	Usage dialect.Usage
	Used  string // name of the key of the last turn after the first

	again int
}

// Origin is the client's request as its first attempt saw it, after the route's rewrites: what the requests of later turns repeat.
type Origin struct {
	Pool      string
	Provider  string // the pool's provider, for spans and metrics
	Dialect   dialect.Dialect
	Path      string
	Authority string
	Client    string // its name, where Envoy knows it
	RequestID string // the same in all turns, so that their logs can be joined: Envoy's, where it makes one
	Header    http.Header

	trace propagation.MapCarrier
}

// Answer is what a client that does not stream gets in place of Session.Body: a later turn failed.
type Answer struct {
	Status int
	Header http.Header // the few that matter to the client
	Body   []byte
}

// note adds what a turn came to.
func (r *Response) note(t dialect.Turn) {
	r.Turns++
	r.Usage.Input += t.Usage.Input
	r.Usage.Output += t.Usage.Output
	r.Usage.CacheRead += t.Usage.CacheRead
	r.Usage.CacheWrite += t.Usage.CacheWrite
	r.Usage.Reasoning += t.Usage.Reasoning
}

// retry says whether a turn that failed is run again. A later turn's key is known by what the answer says that it used: where that
// is missing, nobody is to blame.
func (r *Response) retry(f *dialect.Failure) bool {
	if r.again++; r.again > maxAgain || r.Turns > 1 && r.Used == "" {
		return false
	}
	return r.Judge(r.Used, f)
}
