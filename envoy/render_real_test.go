package envoy_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"github.com/keyturn/keyturn/envoy"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/structpb"
)

// processor stands for Keyturn: the least that shows whether a rendered configuration lets keys turn. It has three
// keys and turns on every 429.
type processor struct {
	extprocv3.UnimplementedExternalProcessorServer
	pools    map[string]upstream
	mu       sync.Mutex // protects the fields below
	attempts []*attempt
}

// upstream is what an attempt for a pool is led to.
type upstream struct{ cluster, authority string }

// attempt is what the processor saw of one.
type attempt struct {
	number         int
	headers        map[string]string
	details, flags string // of the response
}

// keys is how many the processor has.
const keys = 3

// serve answers on a socket until the test ends.
func (p *processor) serve(t *testing.T, socket net.Listener) {
	server := grpc.NewServer()
	extprocv3.RegisterExternalProcessorServer(server, p)
	served := make(chan error, 1)
	go func() { served <- server.Serve(socket) }()
	t.Cleanup(func() { server.Stop(); require.NoError(t, <-served) })
}

func (p *processor) Process(stream extprocv3.ExternalProcessor_ProcessServer) error {
	var a *attempt
	for {
		m, err := stream.Recv()
		if err != nil {
			return nil //nolint:nilerror // the end of the stream
		}
		var answer *extprocv3.ProcessingResponse
		switch r := m.Request.(type) {
		case *extprocv3.ProcessingRequest_RequestHeaders:
			a = p.record(r.RequestHeaders)
			if a.headers["x-keyturn-test"] == "die" {
				return fmt.Errorf("told to")
			}
			answer = p.begin(a)
		case *extprocv3.ProcessingRequest_ResponseHeaders:
			if a.headers["x-keyturn-test"] == "die late" {
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

func (p *processor) record(h *extprocv3.HttpHeaders) *attempt {
	a := &attempt{headers: headers(h)}
	a.number, _ = strconv.Atoi(a.headers["x-envoy-attempt-count"])
	p.mu.Lock()
	defer p.mu.Unlock()
	p.attempts = append(p.attempts, a)
	return a
}

func (p *processor) tell(a *attempt, of map[string]*structpb.Value) {
	p.mu.Lock()
	defer p.mu.Unlock()
	a.details, a.flags = of["response.code_details"].GetStringValue(), fmt.Sprint(of["response.flags"].AsInterface())
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

func (a *attempt) key() string { return fmt.Sprintf("k%d", a.number-1) }

// begin leads an attempt to its provider, sets its key, and cleans what came with the request as Keyturn does.
func (p *processor) begin(a *attempt) *extprocv3.ProcessingResponse {
	to := p.pools[a.headers["x-keyturn-pool"]]
	mutation := &extprocv3.HeaderMutation{SetHeaders: []*corev3.HeaderValueOption{
		setHeader("x-keyturn-cluster", to.cluster), setHeader(":authority", to.authority),
	}}
	if a.headers["authorization"] == "" {
		mutation.SetHeaders = append(mutation.SetHeaders, setHeader("authorization", "Bearer "+a.key()))
	}
	for name := range a.headers {
		// Not x-forwarded-proto, without which Envoy finds no route: the inner listener removes it.
		if strings.HasPrefix(name, "x-envoy-") || strings.HasPrefix(name, "x-keyturn-") || name == "x-forwarded-for" {
			mutation.RemoveHeaders = append(mutation.RemoveHeaders, name)
		}
	}
	fields := map[string]any{
		"attempt": a.number, "key": "…" + a.key(), "key_name": a.key(), "pool": a.headers["x-keyturn-pool"],
		"request_id": a.headers["x-request-id"],
	}
	for _, name := range []string{"client", "turn"} {
		if v := a.headers["x-keyturn-"+name]; v != "" {
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
func judge(a *attempt, status string) *extprocv3.ProcessingResponse {
	mutation := &extprocv3.HeaderMutation{SetHeaders: []*corev3.HeaderValueOption{
		setHeader("x-keyturn-used-pool", a.headers["x-keyturn-pool"]), setHeader("x-keyturn-used-name", a.key()), setHeader("x-keyturn-used-key", "…"+a.key()),
	}}
	own := func(code typev3.StatusCode, name string) *extprocv3.ProcessingResponse {
		mutation.SetHeaders = append(mutation.SetHeaders, setHeader("content-type", "application/json"), setHeader("x-keyturn-error", name))
		return &extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_ImmediateResponse{ImmediateResponse: &extprocv3.ImmediateResponse{
			Status: &typev3.HttpStatus{Code: code}, Headers: mutation, Body: []byte(`{"by":"keyturn"}`), Details: "keyturn_" + name,
		}}}
	}
	switch {
	case a.details != "via_upstream":
		return own(typev3.StatusCode_BadGateway, "provider_unreachable")
	case status == "429" && a.number == keys:
		return own(typev3.StatusCode_TooManyRequests, "exhausted")
	case status == "429":
		mutation.SetHeaders = append(mutation.SetHeaders, setHeader("x-keyturn-retry", "1"))
	}
	return &extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_ResponseHeaders{
		ResponseHeaders: &extprocv3.HeadersResponse{Response: &extprocv3.CommonResponse{HeaderMutation: mutation}},
	}}
}

// provider answers 429 to the keys k0 and k1 unless the request says otherwise, and remembers the requests.
type provider struct {
	*httptest.Server
	mu       sync.Mutex // protects the fields below
	requests []*http.Request
	bytes    int64         // of the last request's body
	arrived  chan struct{} // gets one for each request that is held
	release  chan struct{} // lets one go
}

// slow is how long a slow answer takes.
const slow = 1500 * time.Millisecond

func newProvider(t *testing.T) *provider {
	p := &provider{arrived: make(chan struct{}), release: make(chan struct{})}
	p.Server = httptest.NewServer(http.HandlerFunc(p.serve))
	t.Cleanup(p.Close)
	return p
}

func (p *provider) serve(w http.ResponseWriter, r *http.Request) {
	n, _ := io.Copy(io.Discard, r.Body)
	p.mu.Lock()
	p.requests, p.bytes = append(p.requests, r), n
	p.mu.Unlock()
	test := r.Header.Get("x-test")
	key := r.Header.Get("authorization")
	if test == "hold" {
		p.arrived <- struct{}{}
		select {
		case <-p.release:
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
		ctx, cancel := context.WithTimeout(r.Context(), slow)
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

// rig is a real Envoy with a rendered configuration between a processor and a provider.
type rig struct {
	processor *processor
	provider  *provider
	folder    string
	url       string // of the main listener
	proc      *envoy.Process
	log       *lockedBuffer
	client    *http.Client
	drain     time.Duration // how long Envoy may take to stop
}

// startRig renders a configuration with two pools, openai and anthropic, both served by the scripted provider, and
// starts everything. change may alter the configuration first.
func startRig(t *testing.T, change func(*envoy.Config)) *rig {
	t.Helper()
	r := newRig(t)
	r.start(t, change)
	return r
}

func (r *rig) start(t *testing.T, change func(*envoy.Config)) {
	t.Helper()
	plain, err := url.Parse(r.provider.URL)
	require.NoError(t, err)
	base := *plain
	base.Path = "/base"
	cfg := envoy.Config{
		Listen: "127.0.0.1:0", Admin: "127.0.0.1:0", Processor: "unix:extproc.sock",
		Pools: []envoy.Pool{
			{Name: "openai", Provider: "openai", Upstream: plain, Keys: 3},
			{Name: "anthropic", Provider: "anthropic", Upstream: &base, Clusters: []string{"claude"}, Keys: 3},
		},
	}
	if change != nil {
		change(&cfg)
	}
	for _, pool := range cfg.Pools {
		to := upstream{pool.Name, pool.Upstream.Host}
		if len(pool.Clusters) > 0 {
			to.cluster = pool.Clusters[0]
		}
		r.processor.pools[pool.Name] = to
	}
	b, err := envoy.Render(cfg)
	require.NoError(t, err)
	doc, err := envoy.Marshal(b)
	require.NoError(t, err)
	r.boot(t, doc)
	if cfg.Admin == "127.0.0.1:0" { // else the test asks for itself
		r.findListener(t)
	}
}

// newRig starts the processor and the provider.
func newRig(t *testing.T) *rig {
	t.Helper()
	folder, err := os.MkdirTemp("", "kt") // t.TempDir is too long for a socket
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(folder)) })
	r := &rig{processor: &processor{pools: map[string]upstream{}}, provider: newProvider(t), folder: folder, log: &lockedBuffer{}, drain: -1}
	socket, err := net.Listen("unix", filepath.Join(folder, "extproc.sock"))
	require.NoError(t, err)
	r.processor.serve(t, socket)
	return r
}

// boot starts Envoy.
func (r *rig) boot(t *testing.T, bootstrap []byte) {
	t.Helper()
	r.proc = start(t, realEnvoy(t), envoy.RunConfig{Bootstrap: bootstrap, Dir: r.folder, Stdout: r.log, Log: r.log, Drain: r.drain})
	require.NoError(t, r.proc.Ready(bounded(t)), r.log.String())
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	r.client = &http.Client{Transport: transport}
}

// findListener asks Envoy where the main listener, its first, is.
func (r *rig) findListener(t *testing.T) {
	t.Helper()
	main, _, _ := strings.Cut(listener(t, r.proc), "\n")
	r.url = "http://" + main
}

// attempts returns what the processor saw since the last call.
func (r *rig) attempts() []*attempt {
	r.processor.mu.Lock()
	defer r.processor.mu.Unlock()
	seen := r.processor.attempts
	r.processor.attempts = nil
	return seen
}

// requests returns what the provider saw since the last call.
func (r *rig) requests() []*http.Request {
	r.provider.mu.Lock()
	defer r.provider.mu.Unlock()
	seen := r.provider.requests
	r.provider.requests = nil
	return seen
}

// do sends a request and returns its answer and body. headers are "name: value".
func (r *rig) do(t *testing.T, method, path, body string, headers ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, r.url+path, strings.NewReader(body))
	require.NoError(t, err)
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		if name == "" {
			continue
		}
		if name == "host" {
			req.Host = value
			continue
		}
		req.Header[name] = append(req.Header[name], value) // in the case given: Envoy must not care
	}
	res, err := r.client.Do(req)
	require.NoError(t, err)
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return res, string(b)
}
