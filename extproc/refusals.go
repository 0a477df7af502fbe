package extproc

import (
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coder/quartz"

	"github.com/keyturn/keyturn/internal/dialect"
)

// Bounds of what is remembered of providers' refusals.
const (
	maxRefusals = 1000
	refusalTime = time.Hour // then it is tried again
	maxNamed    = 64        // tools of one refusal
)

// refused is what a provider will not have of the things that Keyturn puts into requests: of one pool, for one model, in requests of one form.
type refused struct {
	of      likeness
	without dialect.Without
}

type likeness struct{ pool, model, form string }

// refusals remembers them. It may be used from any goroutine.
type refusals struct {
	clock quartz.Clock

	mu    sync.Mutex // protects the fields below
	known map[likeness]keptRefusal
	pools map[string]int // how many are known of a pool
}

type keptRefusal struct {
	without dialect.Without
	until   time.Time
}

func newRefusals(clock quartz.Clock) *refusals {
	return &refusals{clock: clock, known: map[likeness]keptRefusal{}, pools: map[string]int{}}
}

// of is what is to be left out of a pool's request with that body; model is the one that its path names.
func (r *refusals) of(pool, model string, body []byte) dialect.Without {
	r.mu.Lock()
	some := r.pools[pool] > 0
	r.mu.Unlock()
	if !some { // nothing need be read
		return dialect.Without{}
	}
	if model == "" {
		model = dialect.ModelOf(body)
	}
	key := likeness{pool, model, dialect.Form(body)}
	now := r.clock.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	k, ok := r.known[key]
	switch {
	case !ok:
	case !now.Before(k.until):
		r.forgetLocked(key)
	default:
		return k.without
	}
	return dialect.Without{}
}

func (r *refusals) forgetLocked(key likeness) {
	delete(r.known, key)
	if r.pools[key.pool]--; r.pools[key.pool] <= 0 {
		delete(r.pools, key.pool)
	}
}

// remember notes what a request did without, and was taken. It reports whether that is news.
func (r *refusals) remember(of *refused) bool {
	now := r.clock.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	before, ok := r.known[of.of]
	if !ok {
		if len(r.known) >= maxRefusals {
			clear(r.known)
			clear(r.pools)
		}
		r.pools[of.of.pool]++
	}
	without := before.without.And(of.without)
	if len(without.Named) > maxNamed {
		without.Tools = true
	}
	r.known[of.of] = keptRefusal{without, now.Add(refusalTime)}
	return !ok || len(without.Named) > len(before.without.Named) || without.Tools != before.without.Tools || without.Usage != before.without.Usage
}

// mayRefuse reports whether an answer with this status may be about what Keyturn put into the request: OpenRouter says 404, llama.cpp 500.
func mayRefuse(status int) bool {
	switch status {
	case 400, 404, 405, 415, 422, 500, 501:
		return true
	}
	return false
}

// leaner reports whether an answer is about something that Keyturn put into the request: then the next attempt goes without it, with the same
// key, once. Nothing has been shown to the client yet.
func (x *exchange) leaner(body []byte, now time.Time) bool {
	if x.merged() == nil || !mayRefuse(x.status) || x.before.refused != nil || len(body) == 0 {
		return false
	}
	w := x.tools.response.Refused(x.tools.offered, body)
	if w.None() || !x.inTime(now) || !x.retriable() || !x.followed() {
		return false
	}
	x.refused = &refused{likeness{x.pool.name, x.model, x.tools.form}, w}
	x.repeat = true
	return true
}

// without is what is left out of an attempt's request: what the attempt before was refused for, and others like it.
func (s *Server) without(a *attempt) dialect.Without {
	w := s.refusals.of(a.pool.name, a.model, a.tools.coded.of(a.message.body))
	if r := a.before.refused; r != nil {
		w = w.And(r.without)
	}
	return w
}

// learn remembers what a request had to do without, now that it was taken, and says so in the log.
func (s *Server) learn(x *exchange) {
	r := x.before.refused
	if r == nil || x.status == 0 || x.status >= 400 || !s.refusals.remember(r) {
		return
	}
	what := slices.Clone(r.without.Named)
	if r.without.Tools {
		what = append(what, "all tools")
	}
	if r.without.Usage {
		what = append(what, "stream_options")
	}
	s.log.Warn("the provider refuses something that was put into a request for tools; for an hour requests like it go without",
		slog.String("pool", r.of.pool), slog.String("model", r.of.model), slog.String("without", strings.Join(what, ", ")))
}
