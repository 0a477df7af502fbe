package keypool

import (
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/keyturn/keyturn/internal/setting"
	"github.com/keyturn/keyturn/internal/wire"
)

// Headroom is what a key is to have left of its allowances, as the provider's answers count them. A key that has less is asked only where no other can
// be, until the allowance is full again. The zero value looks at nothing.
type Headroom struct {
	Requests, Tokens Amount
}

// Amount is a number, or a share of an allowance: one of the two.
type Amount struct {
	Count int64
	Share float64 // from 0 to 1
}

// Bounds of an Amount.
const (
	MaxCount = 1_000_000_000
	MaxShare = 0.9
)

// ParseAmount reads a number such as "1000", or a share such as "2%".
func ParseAmount(s string) (Amount, bool) {
	if percent, ok := strings.CutSuffix(s, "%"); ok {
		f, err := strconv.ParseFloat(strings.TrimSpace(percent), 64)
		return Amount{Share: f / 100}, err == nil && f > 0 && f <= 100*MaxShare
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return Amount{Count: n}, err == nil && n >= 0 && n <= MaxCount
}

// String returns what ParseAmount reads.
func (a Amount) String() string {
	if a.Share > 0 {
		return strconv.FormatFloat(a.Share*100, 'f', -1, 64) + "%"
	}
	return strconv.FormatInt(a.Count, 10)
}

func (a Amount) check(path string, found *setting.Problems) {
	if a.Count < 0 || a.Count > MaxCount || a.Share < 0 || a.Share > MaxShare || math.IsNaN(a.Share) || a.Count > 0 && a.Share > 0 {
		found.Add(path, "found %s; write a number of at most %d, or a share of at most %v%%", a, MaxCount, 100*MaxShare)
	}
}

func (h Headroom) check() (found setting.Problems) {
	h.Requests.check("requests", &found)
	h.Tokens.check("tokens", &found)
	return found
}

// above reports whether so much of an allowance is as much as the amount. A total that is not known, or cannot be, says nothing of a share.
func (a Amount) above(remaining, total float64) bool {
	if a.Share > 0 {
		return total <= 0 || remaining > total || remaining >= a.Share*total
	}
	return remaining >= float64(a.Count)
}

// allowance is what the last answer told that told anything; one that is low stays until it is full, whatever other models have left. It is not changed.
type allowance struct {
	model string  // that the answer was for; "": not known
	left  float64 // the smallest share that is left, from 0 to 1; 1: none is known
	until int64   // instant up to which one is below the headroom; 0: none is
}

// Observe takes what a good answer tells of what its key has left. Providers count by organisation, so it is about all keys of a group; many count by model too: where the
// answer's model is known, a request for another is not concerned. What cannot be read, or is not there, says nothing.
func (p *Pool) Observe(k *Key, model string, header func(string) string, now time.Time) {
	cfg := &p.roster.Load().cfg
	if cfg.Headroom == (Headroom{}) {
		return
	}
	told, a := false, allowance{model: model, left: 1}
	var wait time.Duration
	for i := range wire.Limits {
		l := &wire.Limits[i]
		remaining, ok := quantity(header(l.Remaining))
		if !ok {
			continue
		}
		told = true
		total, _ := quantity(header(l.Total))
		if total > 0 {
			a.left = min(a.left, remaining/total)
		}
		want := cfg.Headroom.Requests
		if l.Tokens {
			want = cfg.Headroom.Tokens
		}
		if want.above(remaining, total) {
			continue
		}
		wait = max(wait, min(cfg.Cooldown.clamp(fullIn(header(l.Reset), now)), cfg.Cooldown.Max))
	}
	if !told {
		return
	}
	if wait > 0 {
		a.until = p.now() + int64(wait)
	}
	left := &k.slot.place.Load().account.left
	if had := left.Load(); wait == 0 && had != nil && had.model != "" && model != "" && had.model != model && p.now() < had.until {
		return // what is low for one model is not known to be full by another's answer
	}
	left.Store(&a)
}

// fullIn is in how long an allowance is full again, as resetIn; atOnce where it says now, or an instant that has passed while the answer was under way.
// 0: it does not say, or an instant that cannot be meant.
func fullIn(v string, now time.Time) time.Duration {
	if d := resetIn(v, now); d > 0 {
		return d
	}
	d, err := time.ParseDuration(strings.TrimSpace(v)) // reads "0", too
	if err == nil && d == 0 || resetIn(v, now.Add(-time.Minute)) > 0 {
		return atOnce
	}
	return 0
}

// quantity reads a number that is not negative.
func quantity(v string) (n float64, ok bool) {
	if v == "" || len(v) > maxHeader {
		return 0, false
	}
	n, err := strconv.ParseFloat(strings.TrimSpace(v), 64)
	return n, err == nil && n >= 0 && !math.IsInf(n, 0)
}

// lowAt is what is known of an account that has less left than it should, for a model, at an instant; nil: it has enough.
func (a *account) lowAt(now int64, model string) *allowance {
	left := a.left.Load()
	if left == nil || now >= left.until || left.model != "" && model != "" && left.model != model {
		return nil
	}
	return left
}

// Low returns how many keys have less left than they should, now. It allocates nothing.
func (p *Pool) Low() (n int) {
	r, now := p.roster.Load(), p.now()
	for i := range r.entries {
		if r.entries[i].account.lowAt(now, "") != nil {
			n++
		}
	}
	return n
}

// roomiest is the entry, among those with less left than they should have, that has most; nil: there is none that can be used.
func (w *Walker) roomiest(now int64) (best *entry) {
	most := -1.0
	for i, n := 0, w.count(now); i < n; i++ {
		e := w.entry(i)
		if e == nil || w.skips(e) || e.key.slot.useAt(now, w.model) == busy {
			continue
		}
		if a := e.account.lowAt(now, w.model); a != nil && a.left > most {
			best, most = e, a.left
		}
	}
	return best
}
