package extproc

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/keyturn/keyturn/internal/setting"
)

// Fallback says where a pool's requests go on that the pool cannot serve, before the client has seen a byte. Only requests of a dialect do that
// Pool.Dialects of both have, with a body of at most MaxBody: it is read then. A client's own credential stays with its pool.
type Fallback struct {
	// To are the names of pools, the first that can serve first. A pool's own Fallback follows it. None: there is no fallback.
	To []string
	// On are the reasons: FallbackExhausted, FallbackOverloaded, FallbackUnreachable. None: all of them.
	On []string
	// Models are the names that the pool's models have in To. A model that is not there keeps its name.
	Models map[string]string
	// Wait is how long the provider may take until its answer begins; after that it counts as unreachable. It bounds an answer that does not stream
	// as a whole. Zero: nothing bounds it.
	Wait time.Duration
}

// The values of Fallback.On.
const (
	FallbackExhausted   = "exhausted"   // no key of the pool can be used
	FallbackOverloaded  = "overloaded"  // the provider answers with 5xx: it is overloaded or broken
	FallbackUnreachable = "unreachable" // it cannot be reached, breaks off before it answers, or takes longer than Wait
)

// Fallbacks are the values of Fallback.On.
var Fallbacks = []string{FallbackExhausted, FallbackOverloaded, FallbackUnreachable}

// Bounds of the settings of a Fallback, both ends included.
const (
	MinFallbackWait = 100 * time.Millisecond
	MaxFallbackWait = time.Hour
	mostHops        = 15 // of one pool's chain
)

// why is a reason to go on with another pool, as an index of Fallbacks.
type why uint8

const (
	whyExhausted why = iota
	whyOverloaded
	whyUnreachable
	whys
)

// hop is another pool that a pool's requests may go on with.
type hop struct {
	to     *bound
	on     [whys]bool
	models []map[string]string // one after the other
}

// rename is what a model of the first pool's is called in this one.
func (h *hop) rename(model string) string {
	for _, names := range h.models {
		if to, ok := names[model]; ok {
			model = to
		}
	}
	return model
}

// complete checks the settings that stand in the pool alone.
func (f Fallback) complete() (found setting.Problems) {
	for i, on := range f.On {
		if !slices.Contains(Fallbacks, on) {
			found.Add(setting.Item("on", i), "found %q; write one of %s", on, strings.Join(Fallbacks, ", "))
		}
	}
	if f.Wait != 0 {
		setting.Range(&found, "wait", f.Wait, MinFallbackWait, MaxFallbackWait, setting.Duration)
	}
	if len(f.To) == 0 && (len(f.On) > 0 || len(f.Models) > 0 || f.Wait > 0) {
		found.Add("to", "names no pool; write at least one, such as to: [azure]")
	}
	return found
}

// ValidateFallbacks returns what is wrong with the fallbacks of pools beside one another, every fault by its path in a configuration file. What is
// wrong with one alone, Pool.Validate says.
func ValidateFallbacks(pools []Pool) error {
	var found setting.Problems
	at := map[string]int{}
	for i := range pools {
		at[pools[i].name()] = i
	}
	for i := range pools {
		p, path := &pools[i], setting.Within(setting.Item("pools", i), "fallback")
		for j, name := range p.Fallback.To {
			k, ok := at[name]
			here := setting.Item(setting.Within(path, "to"), j)
			switch {
			case !ok:
				found.Add(here, "%q is not the name of a pool", name)
			case k == i:
				found.Add(here, "a pool does not fall back to itself; name another")
			case slices.Contains(p.Fallback.To[:j], name):
				found.Add(here, "%s is named twice; remove one", name)
			case !p.shares(&pools[k]):
				found.Add(here, "%s speaks %s, and this pool %s: a request goes on in its own dialect only; name a pool that speaks one of them",
					name, spoken(pools[k].Dialects), spoken(p.Dialects))
			case pools[k].Authority == "":
				found.Add(here, "%s has no upstream, so that requests would name this pool's host there", name)
			}
		}
		if round := loop(pools, at, i); len(round) > 0 {
			found.Add(setting.Within(path, "to"), "leads back to the pool itself (%s): remove one of these steps", strings.Join(round, " → "))
		}
		if n := len(reach(pools, at, i)); n > mostHops {
			found.Add(setting.Within(path, "to"), "leads to %d pools in all; at most %d", n, mostHops)
		}
	}
	return found.Err()
}

// shares reports whether two pools have a dialect in common.
func (p *Pool) shares(o *Pool) bool {
	return slices.ContainsFunc(p.Dialects, func(d string) bool { return slices.Contains(o.Dialects, d) })
}

func spoken(dialects []string) string {
	if len(dialects) == 0 {
		return "none that is known"
	}
	return strings.Join(dialects, ", ")
}

// reach are the pools that a pool's chain leads to, in order, each once.
func reach(pools []Pool, at map[string]int, from int) (all []int) {
	seen := map[int]bool{from: true}
	var follow func(i int)
	follow = func(i int) {
		for _, name := range pools[i].Fallback.To {
			if k, ok := at[name]; ok && !seen[k] {
				seen[k] = true
				all = append(all, k)
				follow(k)
			}
		}
	}
	follow(from)
	return all
}

// loop are the names of a way from a pool back to itself, beginning and ending with it; none if there is no way. Of a loop only its first pool is told, and not that a pool names itself.
func loop(pools []Pool, at map[string]int, from int) []string {
	seen := map[int]bool{}
	var follow func(i int) []string
	follow = func(i int) []string {
		for _, name := range pools[i].Fallback.To {
			k, ok := at[name]
			switch {
			case !ok || k < from || k == i:
			case k == from:
				return []string{name}
			case !seen[k]:
				seen[k] = true
				if rest := follow(k); rest != nil {
					return append([]string{name}, rest...)
				}
			}
		}
		return nil
	}
	if way := follow(from); way != nil {
		return append([]string{pools[from].name()}, way...)
	}
	return nil
}

// chain gives each pool of the set the pools that its requests may go on with: those of To in order, each followed by its own. ValidateFallbacks
// has found nothing.
func (s *poolSet) chain(pools []Pool) {
	config := map[string]*Fallback{}
	for i := range pools {
		config[pools[i].name()] = &pools[i].Fallback
	}
	for _, b := range s.all {
		seen := map[*bound]bool{b: true}
		s.follow(b, b, nil, config, seen)
	}
}

func (s *poolSet) follow(home, from *bound, models []map[string]string, config map[string]*Fallback, seen map[*bound]bool) {
	f := config[from.name]
	models = append(slices.Clip(models), f.Models)
	h := hop{models: models}
	for i, on := range Fallbacks {
		h.on[i] = len(f.On) == 0 || slices.Contains(f.On, on)
	}
	for _, name := range f.To {
		to := s.byName[name]
		if to == nil || seen[to] {
			continue
		}
		seen[to] = true
		h.to = to
		home.hops = append(home.hops, h)
		s.follow(home, to, models, config, seen)
	}
}

// fallbackError is what is wrong with the fallbacks of pools that each are sound.
func fallbackError(pools []Pool) error {
	if err := ValidateFallbacks(pools); err != nil {
		return fmt.Errorf("fallback: %w", err)
	}
	return nil
}
