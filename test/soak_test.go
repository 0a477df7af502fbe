package test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/scripted"
	"github.com/keyturn/keyturn/test/gateway"
)

// soakFor is how many requests TestSoak sends. What make test sends finds what is wrong in a table; 200,000 find what grows.
var soakFor = flag.Int("soak", 3000, "how many requests TestSoak sends")

const (
	soakRound   = 120 // requests between two looks at the keys
	soakWorkers = 16
	soakKeys    = 14 // of each pool
	soakSafe    = 3  // the last keys of a pool, which no answer of the provider blames, so that there is always one that serves
)

// soakPool is a pool, how a client asks it, and which keys the answers since the last look should have cost.
type soakPool struct {
	name, provider string
	asks           []soakAsk
	tools          bool

	mu   sync.Mutex
	sure map[string][]string // what must have cost a key: the answers that it got, by the key
	may  map[string][]string // what may have
}

type soakAsk struct{ path, body string }

// soaking is a gateway whose provider gives at random every answer that docs/operations.md tells of.
type soaking struct {
	gw    *gateway.Gateway
	pools []*soakPool
	table []soakAnswer
	given []atomic.Int64 // how often, by the row of the table
	ended atomic.Bool    // the provider is well again
}

// TestSoak sends requests to a provider that gives every answer of the tables at random, and some that no table has, and holds after each round that
// just those keys are blamed that the tables blame. At the end both processes live, their memory is what it was, and all keys serve.
func TestSoak(t *testing.T) {
	t.Parallel()
	s := newSoaking(t)
	var warm soakMemory
	rounds := max(*soakFor/soakRound, 1)
	for i := range rounds {
		s.round(t, i)
		s.judge(t, i)
		if i == rounds/4 {
			warm = s.memory(t)
		}
	}
	for i, a := range s.table {
		if *soakFor >= 100*len(s.table) {
			require.NotZero(t, s.given[i].Load(), "never given: %v", a)
		}
	}
	if rounds > 100 {
		now := s.memory(t)
		require.Less(t, now.heap, 1.3*warm.heap+64e6, "keyturn's heap grows") // the records in memory have 64 MiB at most
		require.Less(t, now.envoy, 1.3*warm.envoy+16e6, "Envoy's memory grows")
		require.Less(t, now.goroutines, warm.goroutines+50, "goroutines stay")
	}
	s.ended.Store(true)
	for _, p := range s.pools {
		for _, ask := range p.asks {
			resp := s.gw.Post(t, "/"+p.name+ask.path, ask.body)
			require.Equal(t, http.StatusOK, resp.Status, resp.Body)
		}
	}
}

func newSoaking(t *testing.T) *soaking {
	t.Helper()
	s := &soaking{table: readSoakTable(t), pools: []*soakPool{
		{name: "openai", provider: "openai", asks: soakAsks("/v1/responses", "/v1/chat/completions")},
		{name: "anthropic", provider: "anthropic", asks: soakAsks("/v1/messages")},
		{name: "tooled", provider: "openai", asks: soakAsks("/v1/responses", "/v1/chat/completions"), tools: true},
	}}
	s.given = make([]atomic.Int64, len(s.table))
	var pools []gateway.Pool
	for _, p := range s.pools {
		p.forget()
		pool := gateway.Pool{Name: p.name, Provider: p.provider, Settings: map[string]any{
			"cooldown":     map[string]any{"default": "5ms", "min": "1ms", "max": "20ms"},
			"revive_after": "0s",
		}}
		if !p.tools {
			pool.Settings["tools"] = nil
		}
		for i := range soakKeys {
			pool.Keys = append(pool.Keys, fmt.Sprintf("%s-%02d-long-key", p.name, i))
		}
		pools = append(pools, pool)
	}
	s.gw = gateway.Start(t, gateway.Config{
		Tools: true, Pools: pools, Provider: scripted.Config{KeepBytes: -1, KeepRequests: 1},
		Top: map[string]any{"log": map[string]any{"level": "error"}}, Envoy: map[string]any{"access_log": "off"},
	})
	s.gw.Provider.Default(scripted.Func(s.answer))
	return s
}

// soakAsks are a whole and a streamed request for each path.
func soakAsks(paths ...string) (asks []soakAsk) {
	for _, path := range paths {
		talk := `"messages":[{"role":"user","content":"hi"}],"max_tokens":100`
		if strings.HasSuffix(path, "/responses") {
			talk = `"input":"hi"`
		}
		for _, stream := range []string{"false", "true"} {
			asks = append(asks, soakAsk{path, `{"model":"gpt-5",` + talk + `,"stream":` + stream + `}`})
		}
	}
	return asks
}

func (p *soakPool) forget() { p.sure, p.may = map[string][]string{}, map[string][]string{} }

// answer is what the provider says: half of the time what is good, else a row of the table, or one of the faults that no table has.
func (s *soaking) answer(r scripted.Request) scripted.Answer {
	name, number, _ := strings.Cut(strings.TrimSuffix(r.Key, "-long-key"), "-")
	n := rand.IntN(20)
	switch {
	case s.ended.Load() || n < 9:
		return s.good(r)
	case n < 11:
		return soakFaults[rand.IntN(len(soakFaults))]
	}
	var p *soakPool
	for _, p = range s.pools {
		if p.name == name {
			break
		}
	}
	for {
		i := rand.IntN(len(s.table))
		a := s.table[i]
		if a.rests != "" && number >= fmt.Sprintf("%02d", soakKeys-soakSafe) {
			continue
		}
		s.given[i].Add(1)
		status := a.statuses[rand.IntN(len(a.statuses))]
		answer := scripted.Status(status, a.body(p.provider, status)).Header("Content-Type", "application/json")
		p.note("key"+strings.TrimPrefix(number, "0"), a, status)
		return answer
	}
}

// good is a model that calls a tool where it has one, and then says something.
func (s *soaking) good(r scripted.Request) scripted.Answer {
	if !strings.HasPrefix(r.Key, "tooled") || r.N%4 != 0 {
		return scripted.OK("hello")
	}
	return scripted.ToolUser(func(c scripted.Conversation) []scripted.Part {
		if tool, ok := c.Tool("bmcp_demo_add"); ok && len(c.Latest) == 0 {
			return []scripted.Part{scripted.Call(tool.Name, `{"a":1,"b":2}`)}
		}
		return []scripted.Part{scripted.Text("three")}
	})
}

var soakFaults = []scripted.Answer{
	scripted.CloseNow(), scripted.ResetNow(), scripted.ResetMidBody(scripted.OK("hello, all of you")), scripted.Half(scripted.OK("hello")),
	scripted.Status(http.StatusInternalServerError, `{"error":{"message":"Incorrect API key provided","code":"invalid_api_key"}}`),
	scripted.Status(http.StatusBadGateway, "<html><body>api key expired</body></html>"),
	scripted.Status(http.StatusForbidden, "<!doctype html><title>Attention Required! | Cloudflare</title>").Header("Content-Type", "text/html"),
	scripted.EmptyStatus(http.StatusNotFound), scripted.Status(http.StatusBadRequest, "nothing that anybody knows"),
	scripted.ManyHeaders(http.StatusTooManyRequests, 40), scripted.RateLimited(time.Millisecond),
}

// note keeps what an answer should do to the key that got it.
func (p *soakPool) note(key string, a soakAnswer, status int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	said := fmt.Sprintf("%d %v", status, a)
	switch {
	case a.rests == "":
	case a.sure || status == http.StatusUnauthorized:
		p.sure[key] = append(p.sure[key], said)
	default:
		p.may[key] = append(p.may[key], said)
	}
}

// round sends soakRound requests to each pool and waits for all of them.
func (s *soaking) round(t *testing.T, n int) {
	t.Helper()
	var wg sync.WaitGroup
	var next atomic.Int64
	for range soakWorkers {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= soakRound {
					return
				}
				p := s.pools[i%len(s.pools)]
				ask := p.asks[(n+i/len(s.pools))%len(p.asks)]
				req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.gw.URL+"/"+p.name+ask.path, strings.NewReader(ask.body))
				if err != nil {
					t.Error(err)
					return
				}
				req.Header.Set("Content-Type", "application/json")
				resp, err := s.gw.TryDo(req) // an error is a body that a fault of the provider's cut
				if strings.Contains(resp.Body, "-long-key") || err == nil && (resp.Status < 200 || resp.Status > 599) {
					t.Errorf("round %d: %d %s", n, resp.Status, resp.Body)
				}
			}
		})
	}
	wg.Wait()
}

// judge holds that the keys are in the states that what they were told says, and makes them all valid again.
func (s *soaking) judge(t *testing.T, round int) {
	t.Helper()
	for _, p := range s.pools {
		s.gw.Eventually(t, "no attempt is under way", func() bool { return s.gw.EnvoyStat(t, "cluster."+p.name+".upstream_rq_active") == 0 })
		p.mu.Lock()
		for _, k := range s.gw.Keys(t, p.name) {
			sure, may := p.sure[k.Name], p.may[k.Name]
			blamed := k.State == "permanent" || k.State == "temporary" && k.Reason == "quota"
			switch {
			case len(sure) > 0 && !blamed:
				t.Errorf("round %d: %s %s is %s, and was told %q", round, p.name, k.Name, k.State, sure)
			case len(sure)+len(may) == 0 && blamed:
				t.Errorf("round %d: %s %s is %s (%s), and was told nothing of its own", round, p.name, k.Name, k.State, k.Reason)
			}
			if blamed || k.State == "temporary" || k.Probation || len(k.Models) > 0 {
				s.gw.Operate(t, p.name, k.Name, "reset")
			}
		}
		p.forget()
		p.mu.Unlock()
	}
	if t.Failed() {
		t.FailNow()
	}
}

type soakMemory struct{ heap, envoy, goroutines float64 }

func (s *soaking) memory(t *testing.T) soakMemory {
	t.Helper()
	return soakMemory{
		// What lived at the last collection: the next one comes at five times that (GOGC 400). What is in use goes up and down between them.
		heap: s.gw.Metric(t, "go_memstats_next_gc_bytes") / 5, envoy: s.gw.EnvoyMemory(t), goroutines: s.gw.Metric(t, "go_goroutines"),
	}
}
