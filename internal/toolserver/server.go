package toolserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

// The paths of the two HTTP transports.
const (
	Path    = "/mcp" // streamable HTTP
	SSEPath = "/sse" // the older HTTP+SSE
)

// Options choose between things that MCP leaves to servers. The zero value has sessions (so that it speaks versions until 2025-11-25) and answers
// in streams.
type Options struct {
	Stateless bool          // no sessions; it speaks 2026-07-28 too
	JSON      bool          // answers are application/json, not streams
	PageSize  int           // tools in one page of the list; 0: all
	TTL       time.Duration // what the list of tools says about how long it is good for (ttlMs); 0: nothing
}

// Server is the MCP server. It serves HTTP at Path and SSEPath, and speaks on stdin and stdout by Stdio.
type Server struct {
	URL string // of Path, once it listens

	opts Options
	http *http.Server
	done chan struct{}   // closed when http has ended
	life context.Context // ends what hangs
	end  context.CancelFunc
	work sync.WaitGroup // requests, and sessions that end

	mu         sync.Mutex // protects the fields below
	closed     bool
	tools      *sdk.Server
	old        []*sdk.Server // whose sessions were forgotten; a late request may still open one
	streamable http.Handler
	sse        http.Handler
	faults     []Fault
	used       int
	records    []*record
	lists      int
}

// New makes a server that does not listen yet.
func New(opts Options) *Server {
	s := &Server{opts: opts}
	s.life, s.end = context.WithCancel(context.Background())
	s.Forget()
	return s
}

// Start listens on addr, such as "127.0.0.1:0", and serves until Close.
func Start(addr string) (*Server, error) {
	s := New(Options{})
	return s, s.Listen(addr)
}

// Listen serves on addr until Close.
func (s *Server) Listen(addr string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("tool server: %w", err)
	}
	s.URL = "http://" + l.Addr().String() + Path
	s.http = &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second}
	s.done = make(chan struct{})
	go func() {
		defer close(s.done)
		_ = s.http.Serve(l) // ends by Close
	}()
	return nil
}

// Addr returns the address it listens on.
func (s *Server) Addr() string { return s.URL[len("http://") : len(s.URL)-len(Path)] }

// Close ends every connection and tool, as a killed process does, and waits until all is over.
func (s *Server) Close() error {
	s.end()
	if s.http == nil {
		return nil
	}
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	err := s.http.Close()
	<-s.done
	s.work.Wait()
	s.mu.Lock()
	servers := append(s.old, s.tools)
	s.mu.Unlock()
	for _, one := range servers {
		s.drop(one)
	}
	s.work.Wait()
	return err
}

// drop ends the sessions of a server, with their streams, when their calls have ended.
func (s *Server) drop(tools *sdk.Server) {
	for session := range tools.Sessions() {
		s.work.Go(func() { _ = session.Close() })
	}
}

// Forget makes the server know no session any more, as after a restart. Tools that were added are gone.
func (s *Server) Forget() {
	opts := &sdk.ServerOptions{PageSize: s.opts.PageSize, Capabilities: &sdk.ServerCapabilities{}}
	if s.opts.TTL > 0 {
		opts.SetCacheable = func(_ context.Context, _ sdk.Request, c *sdk.Cacheable) { c.TTLMs = int(s.opts.TTL.Milliseconds()) }
	}
	tools := sdk.NewServer(&sdk.Implementation{Name: "keyturn-toolserver", Version: "1"}, opts)
	tools.AddReceivingMiddleware(s.count)
	for _, t := range s.catalogue() {
		tools.AddTool(t.tool, t.run)
	}
	get := func(*http.Request) *sdk.Server { return tools }
	streamable := sdk.NewStreamableHTTPHandler(get, &sdk.StreamableHTTPOptions{
		Stateless: s.opts.Stateless, JSONResponse: s.opts.JSON, PropagateRequestCancellation: true,
	})
	s.mu.Lock()
	old := s.tools
	s.tools, s.streamable, s.sse = tools, streamable, sdk.NewSSEHandler(get, nil)
	if old != nil {
		s.old = append(s.old, old)
	}
	s.mu.Unlock()
	if old != nil {
		s.drop(old)
	}
}

// count counts the lists of tools that were asked for.
func (s *Server) count(next sdk.MethodHandler) sdk.MethodHandler {
	return func(ctx context.Context, method string, req sdk.Request) (sdk.Result, error) {
		if method == "tools/list" {
			s.mu.Lock()
			s.lists++
			s.mu.Unlock()
		}
		return next(ctx, method, req)
	}
}

// Lists returns how many pages of the list of tools were asked for.
func (s *Server) Lists() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lists
}

// Add adds a tool without arguments that answers with its name, or replaces it, and tells the clients that the list changed.
func (s *Server) Add(name, description string) {
	t := s.named(name, description)
	s.mu.Lock()
	tools := s.tools
	s.mu.Unlock()
	tools.AddTool(t.tool, t.run)
}

// Remove removes a tool, and tells the clients.
func (s *Server) Remove(name string) {
	s.mu.Lock()
	tools := s.tools
	s.mu.Unlock()
	tools.RemoveTools(name)
}

// Stdio speaks on stdin and stdout until stdin ends.
func (s *Server) Stdio(ctx context.Context) error {
	s.mu.Lock()
	tools := s.tools
	s.mu.Unlock()
	if err := tools.Run(ctx, &sdk.StdioTransport{}); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("tool server: %w", err)
	}
	return nil
}
