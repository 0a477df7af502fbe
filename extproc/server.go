package extproc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"

	"github.com/coder/quartz"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/keyturn/keyturn/internal/agent"
	"github.com/keyturn/keyturn/internal/quota"
	"github.com/keyturn/keyturn/mcp"
)

// Config is what a Server needs. Only Pools has no default.
type Config struct {
	// Pools are the pools, by their names.
	Pools []Pool
	// MaxRetry is the largest request in bytes that the front can send again: its request_body_buffer_limit. Zero means 32 MiB.
	MaxRetry int64
	// MaxMemory bounds the memory that the bodies in work take, in bytes: what is more waits a moment, and is answered with 503. Zero:
	// nothing bounds it.
	MaxMemory int64
	// Log gets one line for each change of a key's state, and at level debug one for each attempt. Nil discards them. No line
	// holds a key, a header's value or a body.
	Log *slog.Logger
	// MeterProvider makes the instruments. Nil makes none.
	MeterProvider metric.MeterProvider
	// TracerProvider makes the spans of turns and of calls of tools. Nil makes none.
	TracerProvider trace.TracerProvider
	// Clients are let in where Envoy asks who a client is; SetClients replaces them. Where it asks and there are none, nobody is.
	Clients []Client
	// Limits bound what clients may use; SetLimits replaces them.
	Limits Limits
	// TellLimits lets clients know what they have left of their limits, in the headers x-ratelimit-*.
	TellLimits bool
	// Beside is served on the same connections: the service that Envoy tells of requests when they are over, and that makes the spans of
	// requests, beneath which those of turns and calls are. Nil: there is none.
	Beside Beside
	// Start records that a request of a client begins, before it leaves. An error, or none within a few seconds, has the client get 503 in its
	// place. Nil: nobody waits for that.
	Start func(context.Context, Start) error
	// Said is told what is new in the request of an id, of pools with Prompts; cut says that there was more. Nil: no pool may have it.
	Said func(id, prompt string, cut bool)
	// Clock tells the time. Nil means the real one.
	Clock quartz.Clock
	// Catalogue runs the tools of pools that have some. Nil: none may have.
	Catalogue *mcp.Catalogue
	// Loopback is where Envoy listens for the requests of later turns, "unix:PATH" or "host:port". Empty: no pool may have tools.
	Loopback string
}

// Beside is another gRPC service, whose streams last as long as Envoy's connections do.
type Beside interface {
	Register(s grpc.ServiceRegistrar)
	// Drain ends the streams once nothing more comes of them. It is called when no attempt is under way any more and the server shuts down.
	Drain()
}

// Bodies, in bytes.
const (
	defaultMaxRetry = 32 << 20
	maxHeld         = MaxBody // the most that an inner listener holds: of what comes in chunks nobody knows the size before
	maxErrorBody    = 1 << 20 // the body of an error beyond this is not read: its status alone is judged
)

// Server is Envoy's external processor (envoy.service.ext_proc.v3.ExternalProcessor): one stream is one attempt of a request.
// It serves the gRPC health service too.
type Server struct {
	grpc       *grpc.Server
	health     *health.Server
	log        *slog.Logger
	clock      quartz.Clock
	metrics    *metrics
	maxRetry   int64
	pools      atomic.Pointer[poolSet]
	clients    atomic.Pointer[clientSet]
	trails     *trails
	later      later
	conns      connections
	budget     *budget
	book       *quota.Book
	quit       chan struct{} // closed when the server shuts down
	quitting   sync.Once
	tellLimits bool
	echoed     seldom
	beside     Beside
	stopping   atomic.Bool
	idle       sync.Once // when the server shuts down and no attempt is under way
	withheld   seldom    // redirects
	noMemory   seldom    // bodies
	fellBack   seldom    // requests

	said       func(id, prompt string, cut bool)  // nil: nothing is kept of what is said
	start      func(context.Context, Start) error // nil: no start has to be recorded
	unrecorded seldom                             // requests whose start was not

	tools    func(ctx context.Context, servers []string) []mcp.Tool // the catalogue's
	advice   func(servers []string) []mcp.Instructions              // nil: none
	agent    *agent.Agent                                           // nil: no pool may have tools
	memories *memories
	offers   *offers
	refusals *refusals
	close    func() // what the agent keeps open
}

// New makes a Server. Its errors name the pool and what is wrong with it.
func New(cfg Config) (*Server, error) { return newServer(cfg, cfg.outside()) }

// newServer makes a Server whose tools are out's; nil: it has none.
func newServer(cfg Config, out *outside) (*Server, error) {
	s := &Server{log: cfg.Log, clock: cfg.Clock, maxRetry: cfg.MaxRetry, health: health.NewServer(), beside: cfg.Beside, start: cfg.Start, said: cfg.Said}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.clock == nil {
		s.clock = quartz.NewReal()
	}
	orElse(&s.maxRetry, defaultMaxRetry)
	s.trails = newTrails(s.clock)
	if cfg.MeterProvider == nil {
		cfg.MeterProvider = noop.NewMeterProvider()
	}
	var err error
	if s.metrics, err = newMetrics(cfg.MeterProvider, s.pools.Load); err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	s.book, s.quit, s.tellLimits = quota.New(s.clock), make(chan struct{}), cfg.TellLimits
	if err := cfg.Limits.Validate(); err != nil {
		return nil, fmt.Errorf("limits: %w", err)
	}
	s.SetLimits(cfg.Limits)
	if err := s.measure(cfg.MeterProvider); err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	s.memories, s.budget = newMemories(s.clock), newBudget(cfg.MaxMemory, s.clock)
	s.offers, s.refusals = newOffers(s.clock, s.log), newRefusals(s.clock)
	if out != nil {
		s.tools, s.advice, s.close = out.tools, out.advice, out.close
		if s.agent, err = agent.New(agent.Config{
			Call: out.call, Loopback: &blanking{out.loopback, s}, Clock: s.clock, Log: s.log, TracerProvider: cfg.TracerProvider, MeterProvider: cfg.MeterProvider,
			Recorded: cfg.Beside != nil,
		}); err != nil {
			return nil, err
		}
	}
	if err := s.SetPools(cfg.Pools); err != nil {
		return nil, err
	}
	// A whole body is one message. The inner listener holds as much, and what was on its way when that was full.
	largest := int(max(s.maxRetry, maxHeld)) + overshoot
	s.grpc = grpc.NewServer(
		grpc.ForceServerCodecV2(newCodec()),
		grpc.MaxRecvMsgSize(largest),
		grpc.MaxSendMsgSize(largest),
		grpc.NumStreamWorkers(streamWorkers),
		grpc.InitialWindowSize(streamWindow),
		grpc.InitialConnWindowSize(connectionWindow),
	)
	s.grpc.RegisterService(&serviceDesc, s)
	if s.beside != nil {
		s.beside.Register(s.grpc)
	}
	s.SetClients(cfg.Clients)
	authv3.RegisterAuthorizationServer(s.grpc, &authorization{server: s})
	healthpb.RegisterHealthServer(s.grpc, s.health)
	s.health.SetServingStatus("", healthpb.HealthCheckResponse_SERVING)
	s.health.SetServingStatus(serviceDesc.ServiceName, healthpb.HealthCheckResponse_SERVING)
	return s, nil
}

const (
	overshoot        = 32 << 20  // bytes that a provider's connection may bring at once: its window in HTTP/2
	streamWorkers    = 32        // goroutines kept with their grown stacks; streams beyond them get goroutines of their own
	streamWindow     = 256 << 10 // bytes on their way in one stream
	connectionWindow = 16 << 20  // bytes on their way in one connection of Envoy's
)

var serviceDesc = grpc.ServiceDesc{
	ServiceName: "envoy.service.ext_proc.v3.ExternalProcessor",
	HandlerType: (*any)(nil),
	Streams: []grpc.StreamDesc{{
		StreamName: "Process", ServerStreams: true, ClientStreams: true,
		Handler: func(srv any, stream grpc.ServerStream) error { return srv.(*Server).process(stream) },
	}},
	Metadata: "envoy/service/ext_proc/v3/external_processor.proto",
}

// SetPools replaces the pools. Attempts under way go on with what they began with. An error leaves the pools as they were.
func (s *Server) SetPools(pools []Pool) error {
	commit, err := s.Prepare(pools)
	if err == nil {
		commit()
	}
	return err
}

// Prepare checks the pools and returns what puts them in the place of the server's, as SetPools does. Until commit is called
// nothing changes, and commit cannot fail: so pools, their keys and the catalogue of tools change together, or none of them.
func (s *Server) Prepare(pools []Pool) (commit func(), err error) {
	set, err := newPoolSet(pools, s.metrics, s.memories)
	if err != nil {
		return nil, err
	}
	for _, b := range set.all {
		if b.tools != nil && s.agent == nil {
			return nil, fmt.Errorf("pool %q: has tools, and there is no catalogue or no loopback listener", b.name)
		}
	}
	set.tellLimits = s.tellLimits
	return func() {
		s.memories.keep(set)
		s.pools.Store(set)
	}, nil
}

// Serve accepts Envoy's connections until Shutdown. It returns nil after one.
func (s *Server) Serve(l net.Listener) error {
	if err := s.grpc.Serve(l); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("serve ext_proc: %w", err)
	}
	return nil
}

// Shutdown reports not serving to health checks, refuses new streams and waits for those that run. When ctx ends first, they
// are cut, and its error is returned.
func (s *Server) Shutdown(ctx context.Context) error {
	s.health.Shutdown()
	if s.close != nil {
		defer s.close()
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.grpc.GracefulStop()
	}()
	s.stopping.Store(true)
	s.quitting.Do(func() { close(s.quit) })
	s.settled()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		s.grpc.Stop() // ends GracefulStop too
		<-done
		return ctx.Err()
	}
}

// settled lets the streams of the service beside this one end, where the server shuts down and no attempt is under way.
func (s *Server) settled() {
	if s.beside != nil && s.stopping.Load() && s.metrics.open.Load() == 0 {
		s.idle.Do(s.beside.Drain)
	}
}
