package scripted

import (
	"crypto/tls"
	"net/http"
	"sync"
	"time"
)

// Config is what a Provider is made of. The zero value serves.
type Config struct {
	// Log is called once at the end of each exchange, from the goroutine that served it, so it must be safe for concurrent
	// use. Nil: no log.
	Log func(Exchange)
	// Mask turns a key into what an Exchange may show of it. Nil: nothing is shown but that there was one.
	Mask func(key string) string
	// KeepRequests is the number of requests remembered; the oldest are forgotten first. 0: 10,000.
	KeepRequests int
	// KeepBytes is the number of bytes remembered of all request bodies together; the oldest are forgotten first, and of a
	// body larger than this only length and hash remain. 0: 32 MiB. Below 0: no body is held at all, for tests of load.
	KeepBytes int64
	// MaxHang ends a Hang, and an idle WebSocket, that nobody else ends. 0: 30 s.
	MaxHang time.Duration
	// TLS makes Start serve HTTPS with these certificates. Nil: plain HTTP.
	TLS *tls.Config
	// HTTP2 makes Start speak HTTP/2 beside HTTP/1.1: by ALPN with TLS, by prior knowledge without.
	HTTP2 bool
	// Strict makes the provider refuse, with the real one's 400, what the real one refuses: a call without its result, a thought
	// that was changed, a tool twice. It then keeps what it answered, for previous_response_id, conversations and
	// GET /v1/responses/{id}, within KeepRequests and 32 MiB or KeepBytes. Only models are strict: an answer such as RateLimited
	// comes whatever the request. A body above KeepBytes and 32 MiB is not looked at.
	Strict bool
	// BindThinking, with Strict, holds thoughts of Messages to the conversation that they were thought in, as Anthropic's preserved
	// thinking does: what comes before a thinking block must be what came before it then.
	BindThinking bool
}

const (
	defaultKeepRequests = 10_000
	defaultKeepBytes    = 32 << 20
	defaultMaxHang      = 30 * time.Second
)

// Provider is a scripted provider: an http.Handler with a script and a memory. All its methods may be called at any time, also
// while it serves.
type Provider struct {
	cfg Config

	mu       sync.Mutex        // protects the fields below
	keys     map[string]Script // by key
	nth      map[int]Script    // by the number of the request
	fallback Script            // for keys that are not in keys; nil: 401
	memory   memory
	ledger   ledger
}

// New returns a provider that knows no key: it answers everything with a 401 until Key, Nth or Default say otherwise.
func New(cfg Config) *Provider {
	if cfg.KeepRequests <= 0 {
		cfg.KeepRequests = defaultKeepRequests
	}
	if cfg.KeepBytes == 0 {
		cfg.KeepBytes = defaultKeepBytes
	}
	if cfg.MaxHang <= 0 {
		cfg.MaxHang = defaultMaxHang
	}
	if cfg.Mask == nil {
		cfg.Mask = func(string) string { return "..." }
	}
	p := &Provider{cfg: cfg, keys: map[string]Script{}, nth: map[int]Script{}, ledger: newLedger()}
	p.memory.reset()
	return p
}

// Key sets what requests with this key are answered, in place of what was set before. It returns p, so calls can be chained.
func (p *Provider) Key(key string, s Script) *Provider {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keys[key] = s
	return p
}

// Nth sets what the n-th of all requests is answered, whatever its key. The first request is 1.
func (p *Provider) Nth(n int, s Script) *Provider {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.nth[n] = s
	return p
}

// Default sets what requests are answered whose key has no script, or that carry no key. Without it they are answered 401.
func (p *Provider) Default(s Script) *Provider {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fallback = s
	return p
}

// ServeHTTP answers one request by the script. It leaves by panic(http.ErrAbortHandler) where a connection has to end without
// an end of the answer: net/http and httptest.Server understand that, a bare httptest.ResponseRecorder does not.
func (p *Provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x, script := p.arrive(w, r)
	defer p.leave(x)

	a, chosen := script.choose(x.req, false)
	if !chosen || !a.early {
		if err := x.read(a.model); err != nil {
			p.remember(x)
			x.left()
		}
	}
	if !chosen {
		a, _ = script.choose(x.req, true)
	}
	p.remember(x)
	x.answer(a)
}

// arrive numbers the request and finds its script.
func (p *Provider) arrive(w http.ResponseWriter, r *http.Request) (*exchange, Script) {
	x := newExchange(p, w, r)
	p.mu.Lock()
	defer p.mu.Unlock()
	s, known := p.keys[x.req.Key]
	p.memory.number(x, known)
	if nth, ok := p.nth[x.req.N]; ok {
		return x, nth
	}
	switch {
	case known:
		return x, s
	case p.fallback != nil:
		return x, p.fallback
	}
	return x, Unauthorized()
}

// leave ends the exchange: it is no longer open, and the log hears of it.
func (p *Provider) leave(x *exchange) {
	p.mu.Lock()
	p.memory.close(x)
	p.mu.Unlock()
	if p.cfg.Log != nil {
		p.cfg.Log(x.summary())
	}
}
