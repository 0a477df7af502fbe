package envoytest

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/structpb"
)

// Processor stands for Keyturn: the least that shows whether a rendered configuration lets keys turn. It has three
// keys and turns on every 429.
type Processor struct {
	extprocv3.UnimplementedExternalProcessorServer
	Pools    map[string]Upstream
	mu       sync.Mutex // protects the fields below
	attempts []*Attempt
}

// Upstream is what an attempt for a pool is led to.
type Upstream struct{ Cluster, Authority string }

// Attempt is what the processor saw of one.
type Attempt struct {
	Number         int
	Headers        map[string]string
	Details, Flags string // of the response
}

// keys is how many the processor has.
const keys = 3

// Serve answers on a socket until the test ends.
func (p *Processor) Serve(t *testing.T, socket net.Listener) {
	server := grpc.NewServer()
	extprocv3.RegisterExternalProcessorServer(server, p)
	served := make(chan error, 1)
	go func() { served <- server.Serve(socket) }()
	t.Cleanup(func() { server.Stop(); require.NoError(t, <-served) })
}

func (p *Processor) Process(stream extprocv3.ExternalProcessor_ProcessServer) error {
	var a *Attempt
	for {
		m, err := stream.Recv()
		if err != nil {
			return nil //nolint:nilerror // the end of the stream
		}
		var answer *extprocv3.ProcessingResponse
		switch r := m.Request.(type) {
		case *extprocv3.ProcessingRequest_RequestHeaders:
			a = p.record(r.RequestHeaders)
			if a.Headers["x-keyturn-test"] == "die" {
				return fmt.Errorf("told to")
			}
			answer = p.begin(a)
		case *extprocv3.ProcessingRequest_ResponseHeaders:
			if a.Headers["x-keyturn-test"] == "die late" {
				return fmt.Errorf("told to")
			}
			p.tell(a, m.Attributes["envoy.filters.http.ext_proc"].GetFields())
			answer = judge(a, headers(r.ResponseHeaders)[":status"])
		default:
			return fmt.Errorf("unexpected message %T", r)
		}
		if err := stream.Send(answer); err != nil {
			return err
		}
	}
}

func (p *Processor) record(h *extprocv3.HttpHeaders) *Attempt {
	a := &Attempt{Headers: headers(h)}
	a.Number, _ = strconv.Atoi(a.Headers["x-envoy-attempt-count"])
	p.mu.Lock()
	defer p.mu.Unlock()
	p.attempts = append(p.attempts, a)
	return a
}

func (p *Processor) tell(a *Attempt, of map[string]*structpb.Value) {
	p.mu.Lock()
	defer p.mu.Unlock()
	a.Details, a.Flags = of["response.code_details"].GetStringValue(), fmt.Sprint(of["response.flags"].AsInterface())
}

// headers are a message's; values of the same name are joined as Envoy does.
func headers(h *extprocv3.HttpHeaders) map[string]string {
	m := map[string]string{}
	for _, v := range h.GetHeaders().GetHeaders() {
		if old, ok := m[v.Key]; ok {
			m[v.Key] = old + "," + string(v.RawValue)
			continue
		}
		m[v.Key] = string(v.RawValue)
	}
	return m
}

func setHeader(name, value string) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{
		Header:       &corev3.HeaderValue{Key: name, RawValue: []byte(value)},
		AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}
}

func (a *Attempt) key() string { return fmt.Sprintf("k%d", a.Number-1) }

// begin leads an attempt to its provider, sets its key, and cleans what came with the request as Keyturn does.
func (p *Processor) begin(a *Attempt) *extprocv3.ProcessingResponse {
	to := p.Pools[a.Headers["x-keyturn-pool"]]
	mutation := &extprocv3.HeaderMutation{SetHeaders: []*corev3.HeaderValueOption{
		setHeader("x-keyturn-cluster", to.Cluster), setHeader(":authority", to.Authority),
	}}
	if a.Headers["authorization"] == "" {
		mutation.SetHeaders = append(mutation.SetHeaders, setHeader("authorization", "Bearer "+a.key()))
	}
	for name := range a.Headers {
		// Not x-forwarded-proto, without which Envoy finds no route: the inner listener removes it.
		if strings.HasPrefix(name, "x-envoy-") || strings.HasPrefix(name, "x-keyturn-") || name == "x-forwarded-for" {
			mutation.RemoveHeaders = append(mutation.RemoveHeaders, name)
		}
	}
	fields := map[string]any{
		"attempt": a.Number, "key": "…" + a.key(), "key_name": a.key(), "pool": a.Headers["x-keyturn-pool"],
		"request_id": a.Headers["x-request-id"],
	}
	for _, name := range []string{"client", "turn"} {
		if v := a.Headers["x-keyturn-"+name]; v != "" {
			fields[name] = v
		}
	}
	dynamic, err := structpb.NewStruct(map[string]any{"keyturn": fields})
	if err != nil {
		panic(err)
	}
	return &extprocv3.ProcessingResponse{DynamicMetadata: dynamic, Response: &extprocv3.ProcessingResponse_RequestHeaders{
		RequestHeaders: &extprocv3.HeadersResponse{Response: &extprocv3.CommonResponse{HeaderMutation: mutation}},
	}}
}

// judge asks for a retry of a 429, and answers itself when the keys are used up or Envoy did not reach the provider.
func judge(a *Attempt, status string) *extprocv3.ProcessingResponse {
	mutation := &extprocv3.HeaderMutation{SetHeaders: []*corev3.HeaderValueOption{
		setHeader("x-keyturn-used-pool", a.Headers["x-keyturn-pool"]), setHeader("x-keyturn-used-name", a.key()), setHeader("x-keyturn-used-key", "…"+a.key()),
	}}
	own := func(code typev3.StatusCode, name string) *extprocv3.ProcessingResponse {
		mutation.SetHeaders = append(mutation.SetHeaders, setHeader("content-type", "application/json"), setHeader("x-keyturn-error", name))
		return &extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_ImmediateResponse{ImmediateResponse: &extprocv3.ImmediateResponse{
			Status: &typev3.HttpStatus{Code: code}, Headers: mutation, Body: []byte(`{"by":"keyturn"}`), Details: "keyturn_" + name,
		}}}
	}
	switch {
	case a.Details != "via_upstream":
		return own(typev3.StatusCode_BadGateway, "provider_unreachable")
	case status == "429" && a.Number == keys:
		return own(typev3.StatusCode_TooManyRequests, "exhausted")
	case status == "429":
		mutation.SetHeaders = append(mutation.SetHeaders, setHeader("x-keyturn-retry", "1"))
	}
	return &extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_ResponseHeaders{
		ResponseHeaders: &extprocv3.HeadersResponse{Response: &extprocv3.CommonResponse{HeaderMutation: mutation}},
	}}
}

// Provider answers 429 to the keys k0 and k1 unless the request says otherwise, and remembers the requests.
type Provider struct {
	*httptest.Server
	mu       sync.Mutex // protects the fields below
	requests []*http.Request
	Bytes    int64         // of the last request's body
	Arrived  chan struct{} // gets one for each request that is held
	Release  chan struct{} // lets one go
}

// Slow is how long a slow answer takes.
const Slow = 1500 * time.Millisecond

func newProvider(t *testing.T) *Provider {
	p := &Provider{Arrived: make(chan struct{}), Release: make(chan struct{})}
	p.Server = httptest.NewServer(http.HandlerFunc(p.serve))
	t.Cleanup(p.Close)
	return p
}

func (p *Provider) serve(w http.ResponseWriter, r *http.Request) {
	n, _ := io.Copy(io.Discard, r.Body)
	p.mu.Lock()
	p.requests, p.Bytes = append(p.requests, r), n
	p.mu.Unlock()
	test := r.Header.Get("x-test")
	key := r.Header.Get("authorization")
	if test == "hold" {
		p.Arrived <- struct{}{}
		select {
		case <-p.Release:
		case <-r.Context().Done():
		}
		test = ""
	}
	switch {
	case test == "all", test == "" && (key == "Bearer k0" || key == "Bearer k1"):
		w.WriteHeader(http.StatusTooManyRequests)
	case r.Header.Get("upgrade") != "" && test != "refuse":
		conn, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
		line, _ := rw.ReadString('\n')
		_, _ = io.WriteString(conn, "echo "+line)
	case test == "slow":
		ctx, cancel := context.WithTimeout(r.Context(), Slow)
		defer cancel()
		<-ctx.Done()
		_, _ = io.WriteString(w, "at last")
	case test == "503":
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, "the provider's own")
	case test == "refuse":
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, "no upgrade")
	default:
		_, _ = fmt.Fprintf(w, "%s %s", key, r.URL.Path)
	}
}
