package extproc

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coder/quartz"

	"github.com/keyturn/keyturn/internal/agent"
	"github.com/keyturn/keyturn/internal/dialect"
	"github.com/keyturn/keyturn/internal/redact"
	"github.com/keyturn/keyturn/internal/wire"
	"github.com/keyturn/keyturn/keypool"
)

// Pool ties a pool of keys to the provider that takes them. A front names it by its name.
type Pool struct {
	// Keys are the pool's keys and what is known of them. Nil: the provider needs none, so nothing is set, and nothing fails over.
	Keys *keypool.Pool
	// Name is the pool's, where there are no Keys.
	Name string
	// Provider is the provider's name for the rules of the pool's policy.
	Provider string
	// Telemetry is what spans and metrics say as gen_ai.provider.name.
	Telemetry string
	// AnthropicErrors gives errors on paths without a dialect Anthropic's form. Else they have OpenAI's.
	AnthropicErrors bool
	// Paths are the beginnings of the paths that the pool serves, such as "/v1/responses"; "*" stands for one segment. What mints
	// credentials or manages an organisation is served only where one of them names it. None: all else.
	Paths []string
	// BasePath is the upstream's, which paths that reach the inner listener begin with.
	BasePath string
	// Cluster is the name of Envoy's cluster that attempts go to.
	Cluster string
	// CountUsage has Chat Completions streams counted whose clients do not ask for it: the provider is asked for the tokens, and the stream is
	// read for them.
	CountUsage bool
	// Prompts has what is new in requests told to Config.Said.
	Prompts bool
	// Schemas says what the provider takes of the schemas of tools.
	Schemas Schemas
	// MaxTools is how many tools the provider takes in one request, the client's included; zero means 128, negative any number.
	MaxTools int
	// Authority is the provider's host and, unless it is the scheme's own, port: what requests carry as :authority. Empty: the
	// front's.
	Authority string
	// Header is the request header that carries the key, in lower case; Scheme stands before it, with a space, if not empty.
	Header, Scheme string
	// BYOK leaves a client's own credential alone, unless it is one of Placeholders.
	BYOK         bool
	Placeholders []string
	// MaxBody is the largest body in bytes that is read whole, to put tools into it or to judge it; a larger one passes as it
	// is. The inner listener's request_body_buffer_limit is at least that: what it cannot hold hangs. Zero means 32 MiB.
	MaxBody int64
	// Deadline ends failing over: once it has passed since the first attempt began, a failure is handed to the client.
	// Zero means 30 s.
	Deadline time.Duration
	// KeepRateLimitHeaders lets the headers of the limits of the pool's keys (x-ratelimit-* and the like) pass to the client.
	KeepRateLimitHeaders bool
	// Dialects are the names of the dialects that the provider speaks. They are needed where requests come from another pool, or go on to one.
	Dialects []string
	// Fallback says where requests go on that the pool cannot serve.
	Fallback Fallback
	// Stay says which requests belong to one conversation, where Keys are chosen by keypool.Spread.
	Stay Stay
	// WebSocket lets clients speak Responses over a WebSocket: its key is chosen, and never turned once it is open, and no tools go in.
	// Otherwise they get 426.
	WebSocket bool
	// Secrets are what no answer to a client may show: the values of the keys. Nil: of those that Keys has when the server gets the pool.
	Secrets []string
	// Tools are the tools that the pool's models may call. Nil: none.
	Tools *Tools
}

// Schemas says whose rules for the schemas of tools a provider has. Messages have Anthropic's, but for Gemini's.
type Schemas string

// The rules that are known.
const (
	CompatibleSchemas Schemas = "" // those of an API like OpenAI's whose limits are unknown
	OpenAISchemas     Schemas = "openai"
	GeminiSchemas     Schemas = "gemini"
)

// bound is a Pool made ready for requests.
type bound struct {
	name             string
	provider         string
	telemetry        string
	schemas          Schemas
	maxTools         int             // of a request: see dialect.Options
	keys             *keypool.Pool   // nil: none are needed
	dialect          dialect.Dialect // of errors, where the path has none
	header, prefix   string
	authority        string // the provider's; empty: the front's
	destination      []byte // wire form: where attempts go
	requestRemovals  []byte // wire form
	responseRemovals []byte
	secrets          *redact.Set // nil: there is none
	byok             bool
	placeholders     map[string]bool
	maxBody          int64 // bytes
	deadline         time.Duration
	keepLimits       bool
	webSocket        bool
	stay             Stay
	endpoints        endpoints
	base             string   // of the upstream: paths that a front leads here begin with it
	dialects         []string // that the provider speaks
	hops             []hop    // where requests go on, in order
	wait             time.Duration
	tools            *Tools
	countUsage       bool
	prompts          bool
	memory           *agent.Memory // of tools; nil: none
	metrics          *poolMetrics
}

// limits are those of a response with tools.
func (x *exchange) limits() agent.Limits {
	t := x.home.tools
	if t == nil {
		return agent.Limits{Turns: 1, MaxBody: x.pool.maxBody}
	}
	return agent.Limits{
		Turns: t.Turns, Calls: t.Calls, Time: t.Time, ResultBytes: t.ResultBytes, MaxBody: x.pool.maxBody,
		Room: func(n int64) bool { return x.roomLater == nil || x.roomLater(n) },
	}
}

// poolSet is all pools of one configuration. It does not change.
type poolSet struct {
	all        []*bound
	byName     map[string]*bound
	shows      bool // a pool shows clients calls of Keyturn's, which they send back, to whichever pool
	tellLimits bool // clients learn what they have left of their limits
}

func newPoolSet(pools []Pool, m *metrics, memories *memories) (*poolSet, error) {
	set := &poolSet{byName: map[string]*bound{}}
	var errs []error
	for i, p := range pools {
		b, err := bind(p)
		if err != nil {
			errs = append(errs, fmt.Errorf("pools[%d]: %w", i, err))
			continue
		}
		if set.byName[b.name] != nil {
			errs = append(errs, fmt.Errorf("pools[%d]: name %q is another pool's already", i, b.name))
		}
		b.metrics = m.forPool(b.name)
		b.memory = memories.forPool(b.name, b.tools)
		set.shows = set.shows || b.tools != nil && !b.tools.Hidden
		set.all = append(set.all, b)
		set.byName[b.name] = b
	}
	if len(errs) == 0 {
		errs = append(errs, fallbackError(pools))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	set.chain(pools)
	return set, nil
}

func bind(p Pool) (*bound, error) {
	if err := p.missing(); err != nil {
		return nil, err
	}
	p, err := p.complete()
	name := p.name()
	if err != nil {
		return nil, fmt.Errorf("%q: %w", name, err)
	}
	b := &bound{
		name: name, provider: p.Provider, telemetry: p.Telemetry, schemas: p.Schemas, maxTools: max(p.MaxTools, dialect.AnyTools), keys: p.Keys, header: p.Header,
		byok: p.BYOK, placeholders: map[string]bool{},
		authority: p.Authority, webSocket: p.WebSocket, stay: p.Stay,
		maxBody: p.MaxBody, deadline: p.Deadline, keepLimits: p.KeepRateLimitHeaders, tools: p.Tools, countUsage: p.CountUsage, prompts: p.Prompts, endpoints: newEndpoints(p.BasePath, p.Paths),
		base: strings.TrimSuffix(p.BasePath, "/"), dialects: p.Dialects, wait: p.Fallback.Wait,
	}
	for _, v := range p.Placeholders {
		b.placeholders[v] = true
	}
	if p.Scheme != "" {
		b.prefix = p.Scheme + " "
	}
	if p.AnthropicErrors {
		b.dialect = dialect.Messages
	}
	// The pool's own header is overwritten, where there is a key.
	removals := slices.DeleteFunc(slices.Concat(wire.Credentials, wire.Withheld), func(name string) bool { return name == p.Header })
	if p.Keys == nil {
		removals = append(removals, p.Header)
	}
	b.requestRemovals = removing(removals...)
	b.responseRemovals = removing(wire.Account...)
	b.secrets = secretsOf(&p)
	var to mutation
	to.set(wire.ClusterHeader, "", p.Cluster)
	if p.Authority != "" {
		to.set(":authority", "", p.Authority)
	}
	b.destination = to.wire
	return b, nil
}

// memories are the pools' memories, by name. They outlive a reload.
type memories struct {
	clock quartz.Clock

	mu    sync.Mutex // protects pools
	pools map[string]*agent.Memory
}

func newMemories(clock quartz.Clock) *memories {
	return &memories{clock: clock, pools: map[string]*agent.Memory{}}
}

// forPool is the memory of a pool with these tools: the one that its name has, else a new one; nil where nothing is to be
// remembered.
func (m *memories) forPool(name string, t *Tools) *agent.Memory {
	if t == nil || t.Memory < 0 {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if had := m.pools[name]; had != nil {
		return had
	}
	return agent.NewMemory(t.Memory, t.MemoryBytes, m.clock)
}

// keep makes the memories of set the ones that are kept, within its limits, and forgets what belongs to pools that are no more,
// or remember nothing now.
func (m *memories) keep(set *poolSet) {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.pools)
	for _, b := range set.all {
		if b.memory != nil {
			b.memory.SetLimits(b.tools.Memory, b.tools.MemoryBytes)
			m.pools[b.name] = b.memory
		}
	}
}
