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
	"go.opentelemetry.io/otel/trace"

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
	// Recorded says that a span of each client's request is made of its record: those of turns and calls are beneath it.
	Recorded bool
}

// Agent finishes responses. It holds no state of a single one, and may be used from any goroutine.
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
	w, err := newWatch(cfg.TracerProvider, cfg.MeterProvider, cfg.Clock, cfg.Recorded)
	if err != nil {
		return nil, fmt.Errorf("instruments: %w", err)
	}
	return &Agent{call: cfg.Call, loopback: cfg.Loopback, log: cfg.Log, clock: cfg.Clock, watch: w}, nil
}
