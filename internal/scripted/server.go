package scripted

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

// Server is a Provider listening on a loopback address.
type Server struct {
	// URL is the server's root, without a slash at its end: http://127.0.0.1:41234.
	URL string

	addr     net.Addr
	provider *Provider
	http     *http.Server
	stop     context.CancelFunc
	served   chan struct{}  // closed when Serve has returned
	conns    sync.WaitGroup // connections that net/http has in its hands

	mu       sync.Mutex // protects closed, and orders Add before Wait
	closed   bool
	handlers sync.WaitGroup
}

// Start listens on addr, host:port with a loopback host; "" is a free port of 127.0.0.1. Several servers may share one Provider.
func (p *Provider) Start(addr string) (*Server, error) {
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("scripted: listen on %q: %w", addr, err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("scripted: listen on %q: the scripted provider listens on loopback only, such as 127.0.0.1:0", addr)
	}
	ctx, stop := context.WithCancel(context.Background())
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		stop()
		return nil, fmt.Errorf("scripted: %w", err)
	}
	s := &Server{addr: l.Addr(), provider: p, stop: stop, served: make(chan struct{})}
	s.http = &http.Server{
		Handler:           s,
		TLSConfig:         p.cfg.TLS.Clone(),
		Protocols:         new(http.Protocols),
		ReadHeaderTimeout: 10 * time.Second,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ConnState:         s.track,
	}
	s.http.Protocols.SetHTTP1(true)
	s.http.Protocols.SetHTTP2(p.cfg.HTTP2 && p.cfg.TLS != nil)
	s.http.Protocols.SetUnencryptedHTTP2(p.cfg.HTTP2 && p.cfg.TLS == nil)
	scheme, serve := "http", s.http.Serve
	if p.cfg.TLS != nil {
		scheme, serve = "https", func(l net.Listener) error { return s.http.ServeTLS(l, "", "") }
	}
	s.URL = scheme + "://" + l.Addr().String()
	go func() {
		defer close(s.served)
		_ = serve(l) // ends with Close; an accept error before that shows as refused connections
	}()
	return s, nil
}

// Addr is the address that the server listens on.
func (s *Server) Addr() net.Addr { return s.addr }

// track counts the connections that net/http serves. A connection that it closes early is in its hands for half a second more.
func (s *Server) track(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		s.conns.Add(1)
	case http.StateHijacked, http.StateClosed:
		s.conns.Done()
	case http.StateActive, http.StateIdle:
	}
}

// ServeHTTP hands the request to the Provider, unless the server has been closed.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		panic(http.ErrAbortHandler)
	}
	s.handlers.Add(1)
	s.mu.Unlock()
	defer s.handlers.Done()
	s.provider.ServeHTTP(w, r)
}

// Close stops listening, cuts every connection, ends every answer in progress, and returns when their goroutines have ended: at
// once, or half a second later where an answer came before the end of its request. It may be called again.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.stop()
	err := s.http.Close()
	<-s.served
	s.handlers.Wait()
	s.conns.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
