package slowclients

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
)

// Provider answers each ask as fast as the answer is read, and ends at once. It speaks HTTP/1.1 and, by prior knowledge, HTTP/2.
type Provider struct {
	URL string

	active atomic.Int64
}

// StartProvider starts a provider and ends it with the test.
func StartProvider(t testing.TB) *Provider {
	t.Helper()
	p := &Provider{}
	s := httptest.NewUnstartedServer(p)
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	ctx, cancel := context.WithCancel(context.Background())
	s.Config.BaseContext = func(net.Listener) context.Context { return ctx }
	s.Start()
	t.Cleanup(func() {
		cancel()
		s.CloseClientConnections() // of answers that nobody reads
		s.Close()
	})
	p.URL = s.URL
	return p
}

// ServeHTTP answers one ask.
func (p *Provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var a Ask
	if err := json.Unmarshal([]byte(r.Header.Get(askHeader)), &a); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return
	}
	p.active.Add(1)
	defer p.active.Add(-1)

	refused := a.Refusal != "" && BadKey(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")+r.Header.Get("X-Api-Key"))
	kind, status, body, size := "application/json", http.StatusOK, a.answer, !a.Stream
	if a.Stream {
		kind = "text/event-stream"
	}
	if refused {
		kind, status, body, size = "application/json", http.StatusTooManyRequests, a.refusal, a.Refusal == "whole"
		w.Header().Set("Retry-After-Ms", "1")
	}
	w.Header().Set("Content-Type", kind)
	if size {
		w.Header().Set("Content-Length", strconv.FormatInt(length(body()), 10))
	}
	w.WriteHeader(status)
	_, _ = io.CopyBuffer(onlyWriter{w}, body(), make([]byte, 64<<10)) // it fails when the client has left
}

// onlyWriter hides net/http's ReadFrom, which reads 32 KiB at a time.
type onlyWriter struct{ io.Writer }

// Active is how many answers are under way.
func (p *Provider) Active() int { return int(p.active.Load()) }
