package toolserver

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
)

// Fault is what the server does instead of answering a request properly. The fields exclude each other, but for Method.
type Fault struct {
	Method string // only requests of this JSON-RPC method, such as "tools/call"; "": every POST

	Status int  // answer with this status, and a text that is no JSON
	HTML   bool // answer 200 with an HTML page
	Hang   bool // never answer
	Bytes  int  // answer 200 with a JSON-RPC result of so many bytes
	Drop   bool // handle the request, then close the connection without an answer
	Cut    bool // answer 200 with an event stream that ends within an event
	Gone   bool // close the connection before the request is handled
}

// Next makes the next n requests that fit go wrong. Faults are used up in the order in which they were given.
func (s *Server) Next(n int, f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for range n {
		s.faults = append(s.faults, f)
	}
}

// Heal takes back the faults that are left.
func (s *Server) Heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// Faults returns how many faults have been used up.
func (s *Server) Faults() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.used
}

// take uses up the first fault that fits.
func (s *Server) take(method string) (Fault, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, f := range s.faults {
		if f.Method == "" || f.Method == method {
			s.faults = append(s.faults[:i:i], s.faults[i+1:]...)
			s.used++
			return f, true
		}
	}
	return Fault{}, false
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		panic(http.ErrAbortHandler)
	}
	s.work.Add(1)
	defer s.work.Done()
	handler := s.streamable
	if strings.HasPrefix(r.URL.Path, SSEPath) {
		handler = s.sse
	}
	s.mu.Unlock()
	if r.Method != http.MethodPost {
		handler.ServeHTTP(w, r)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, "the request broke off", http.StatusBadRequest)
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	var msg struct {
		ID     json.RawMessage `json:"id"`
		Method string          `json:"method"`
	}
	_ = json.Unmarshal(body, &msg) // the handler will say what is wrong
	if f, ok := s.take(msg.Method); ok {
		s.fail(w, r, f, msg.ID, handler)
		return
	}
	handler.ServeHTTP(w, r)
}

func (s *Server) fail(w http.ResponseWriter, r *http.Request, f Fault, id json.RawMessage, handler http.Handler) {
	switch {
	case f.Status != 0:
		if f.Status == http.StatusTooManyRequests {
			w.Header().Set("Retry-After", "7")
		}
		http.Error(w, "a fault, on demand", f.Status)
	case f.HTML:
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, "<!doctype html><title>Sign in</title><p>Please sign in.")
	case f.Hang:
		select {
		case <-r.Context().Done():
		case <-s.life.Done():
		}
		panic(http.ErrAbortHandler)
	case f.Bytes > 0:
		w.Header().Set("Content-Type", "application/json")
		head := `{"jsonrpc":"2.0","id":` + string(id) + `,"result":{"content":[{"type":"text","text":"`
		_, _ = io.WriteString(w, head+strings.Repeat("x", f.Bytes)+`"}]}}`)
	case f.Cut:
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "event: message\ndata: {\"jsonrpc\":\"2.0\",\"id\":"+string(id)+",\"resu")
	case f.Drop:
		handler.ServeHTTP(&sink{header: http.Header{}}, r)
		panic(http.ErrAbortHandler)
	case f.Gone:
		panic(http.ErrAbortHandler)
	}
}

// sink takes an answer that nobody gets.
type sink struct{ header http.Header }

func (s *sink) Header() http.Header         { return s.header }
func (s *sink) Write(p []byte) (int, error) { return len(p), nil }
func (s *sink) WriteHeader(int)             {}
func (s *sink) Flush()                      {}
