package extproc

import (
	"bytes"
	"cmp"
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/coder/quartz"

	"github.com/keyturn/keyturn/internal/dialect"
	"github.com/keyturn/keyturn/internal/schema"
	"github.com/keyturn/keyturn/mcp"
)

// offer is the pool's tools as models are told of them, at this moment. It waits a moment for servers that have just been named.
func (s *Server) offer(ctx context.Context, t *Tools, by *taker) []dialect.Tool {
	tools := s.offers.mended(s.tools(ctx, t.Servers), by)
	if t.Search && len(tools) > mostUnsearched { // the request has two others
		return tools
	}
	return s.offers.fit(tools, t.DefinitionBytes)
}

// taker is what takes schemas of one kind.
type taker struct {
	name  string // for the log
	rules schema.Rules
}

var (
	openAI     = &taker{"OpenAI", schema.OpenAI}
	compatible = &taker{"an API like OpenAI's", schema.Compatible}
	anthropic  = &taker{"Anthropic", schema.Anthropic}
	gemini     = &taker{"Gemini", schema.Gemini}
)

// takes returns what a provider takes in a dialect.
func takes(s Schemas, d dialect.Dialect) *taker {
	switch {
	case s == GeminiSchemas:
		return gemini
	case d == dialect.Messages:
		return anthropic
	case s == OpenAISchemas:
		return openAI
	}
	return compatible
}

// Bounds of what is remembered of tools.
const (
	maxMended = 10_000    // definitions
	tellAgain = time.Hour // until the log says the same about the same tool again
)

// offers makes definitions that providers take of those that servers send. It may be used from any goroutine.
type offers struct {
	clock quartz.Clock
	log   *slog.Logger

	mu   sync.Mutex // protects the fields below
	made map[madeKey]made
	told map[[2]string]time.Time
}

type madeKey struct {
	taker        *taker
	server, tool string
}

// made is a definition, or why there is none.
type made struct {
	from        []byte // the schema as the server sent it
	description string // the same
	tool        dialect.Tool
	err         error
}

func newOffers(clock quartz.Clock, log *slog.Logger) *offers {
	return &offers{clock: clock, log: log, made: map[madeKey]made{}, told: map[[2]string]time.Time{}}
}

// mended returns the definitions that t takes. A tool of which there is none is left out, and the log says why.
func (o *offers) mended(found []mcp.Tool, t *taker) []dialect.Tool {
	o.mu.Lock()
	defer o.mu.Unlock()
	tools := make([]dialect.Tool, 0, len(found))
	for _, f := range found {
		key := madeKey{t, f.Server, f.Name}
		m, known := o.made[key]
		if !known || m.description != f.Description || !bytes.Equal(m.from, f.Schema) {
			m = t.make(f)
			if len(o.made) >= maxMended {
				clear(o.made)
			}
			o.made[key] = m
		}
		if m.err == nil {
			tools = append(tools, m.tool)
			continue
		}
		if o.again(f.Server, f.Name+"\n"+t.name) {
			o.log.Warn("tool left out: its schema cannot be made one that the provider takes", slog.String("server", f.Server), slog.String("tool", f.Name),
				slog.String("provider", t.name), slog.Any("error", m.err))
		}
	}
	return tools
}

func (t *taker) make(f mcp.Tool) made {
	m := made{from: f.Schema, description: f.Description}
	mended, err := schema.Mend(f.Schema, t.rules)
	m.err = err
	m.tool = dialect.Tool{Name: f.ModelName, Server: f.Server, Tool: f.Name, Description: t.rules.Describe(f.Description), Schema: mended}
	return m
}

// again reports whether something about a server is to be said: it was not within the last hour. It is called with the lock.
func (o *offers) again(server, what string) bool {
	now, key := o.clock.Now(), [2]string{server, what}
	if last, known := o.told[key]; known && now.Sub(last) < tellAgain {
		return false
	}
	if len(o.told) >= maxMended {
		clear(o.told)
	}
	o.told[key] = now
	return true
}

// againOnce is again, for those who do not have the lock.
func (o *offers) againOnce(server, what string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.again(server, what)
}

// fit returns the tools whose definitions have room in so many bytes. Each server has an equal share, and what one does not need the others may
// have: a server whose definitions are large costs its own tools. Of those the first that fit stay.
func (o *offers) fit(tools []dialect.Tool, limit int64) []dialect.Tool {
	needs := map[string]int64{}
	var servers []string
	var total int64
	for _, t := range tools {
		if _, known := needs[t.Server]; !known {
			servers = append(servers, t.Server)
		}
		needs[t.Server] += size(t)
		total += size(t)
	}
	if total <= limit {
		return tools
	}
	slices.SortStableFunc(servers, func(a, b string) int { return cmp.Compare(needs[a], needs[b]) })
	share := map[string]int64{}
	left := limit
	for i, server := range servers {
		share[server] = min(needs[server], left/int64(len(servers)-i))
		left -= share[server]
	}
	out := map[string]int{}
	fitting := slices.DeleteFunc(tools, func(t dialect.Tool) bool {
		if share[t.Server] < size(t) {
			out[t.Server]++
			return true
		}
		share[t.Server] -= size(t)
		return false
	})
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, server := range servers {
		if out[server] > 0 && o.again(server, "\ndefinition_bytes") {
			o.log.Warn("tools left out: the definitions are larger than definition_bytes", slog.String("server", server), slog.Int("left_out", out[server]),
				slog.Int64("bytes", needs[server]), slog.Int64("most", limit))
		}
	}
	return fitting
}

// tellLeft says in the log, now and then, that a provider takes fewer tools than there are.
func (s *Server) tellLeft(a *attempt) {
	if a.tools == nil || a.tools.left == 0 {
		return
	}
	s.offers.mu.Lock()
	defer s.offers.mu.Unlock()
	if s.offers.again(a.pool.name, "\ntools") {
		s.log.Warn("tools left out: the provider takes no more in one request; the client's go first, then those of the pool's servers in their order",
			slog.String("pool", a.pool.name), slog.Int("left_out", a.tools.left), slog.Int("offered", len(a.tools.offered)))
	}
}

// size is what a definition adds to a request, in bytes, but for what is around it.
func size(t dialect.Tool) int64 { return int64(len(t.Name) + len(t.Description) + len(t.Schema)) }
