package record

import (
	"cmp"
	"errors"
	"fmt"
	"math/bits"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keyturn/keyturn/internal/setting"
)

// Rate is what a token costs, in millionths of a millionth of a US dollar (pico-dollars): 1 is a millionth of a US dollar for a million tokens. So
// prices with up to six decimals are whole numbers.
type Rate int64

// MaxRate is the highest Rate: 100,000 US dollars for a million tokens.
const MaxRate Rate = 100_000 * 1_000_000

// ParseRate reads US dollars for a million tokens, such as "1.25".
func ParseRate(s string) (Rate, error) {
	whole, part, _ := strings.Cut(s, ".")
	digits := func(s string) bool { return strings.Trim(s, "0123456789") == "" }
	if s == "" || s == "." || !digits(whole) || !digits(part) || len(whole) > 6 || len(part) > 6 {
		return 0, errors.New("no price in US dollars for a million tokens with at most 6 decimals, such as 1.25")
	}
	n, err := strconv.ParseInt("0"+whole+part+strings.Repeat("0", 6-len(part)), 10, 64)
	if err != nil || Rate(n) > MaxRate {
		return 0, fmt.Errorf("more than %s US dollars for a million tokens", MaxRate)
	}
	return Rate(n), nil
}

// String writes r as ParseRate reads it.
func (r Rate) String() string {
	s := fmt.Sprintf("%d.%06d", r/1_000_000, r%1_000_000)
	return strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
}

// PriceRule is the price of the models that it fits. The first rule that fits decides, and rules of the same pool, model and tier stand in the place
// of the first of them: the one that began last holds.
type PriceRule struct {
	Pool  string // a pattern with * and ?; "": every pool
	Model string // a pattern with * and ?
	Tier  string // the service tier; "" for the usual one
	// Since is when the price begins, in UTC. Zero: always.
	Since time.Time
	// Above has the price hold for requests in which the model read more tokens than that.
	Above int64

	Input  Rate
	Output Rate
	// Cached and CacheWrite are nil where such tokens cost what others do.
	Cached, CacheWrite *Rate
}

// problems says what is wrong with r.
func (r PriceRule) problems() (found setting.Problems) {
	for _, p := range []struct{ path, pattern string }{{"pool", r.Pool}, {"model", r.Model}} {
		if _, err := path.Match(p.pattern, ""); err != nil || len(p.pattern) > MaxName {
			found.Add(p.path, "found no pattern; write a name, with * for anything")
		}
	}
	if r.Model == "" {
		found.Add("model", "found no model; write its name, with * for anything, such as gpt-5*")
	}
	if r.Above < 0 {
		found.Add("above", "found %d tokens; write at least 0", r.Above)
	}
	for _, p := range []struct {
		path string
		rate *Rate
	}{{"input", &r.Input}, {"output", &r.Output}, {"cached", r.Cached}, {"cache_write", r.CacheWrite}} {
		if p.rate != nil && (*p.rate < 0 || *p.rate > MaxRate) {
			found.Add(p.path, "found %s; write 0 to %s US dollars for a million tokens", *p.rate, MaxRate)
		}
	}
	return found
}

// fits says whether r may be the price of what pool and model read at that time.
func (r *PriceRule) fits(pool, model, tier string, at time.Time, read int64) bool {
	if r.Tier != tier || read <= r.Above && r.Above > 0 || at.Before(r.Since) {
		return false
	}
	// A model's name may have slashes, as in "openai/gpt-5", and path.Match's * takes none.
	inModel, _ := path.Match(strings.ReplaceAll(r.Model, "/", "\x01"), strings.ReplaceAll(model, "/", "\x01"))
	inPool, _ := path.Match(r.Pool, pool)
	return inModel && (inPool || r.Pool == "")
}

// Prices knows what tokens cost. It is safe for concurrent use.
type Prices struct {
	own      []PriceRule // as the operator wrote them
	prepared []PriceRule // the built-in ones
}

// NewPrices returns the prices of own, and of the built-in table for what none of own fits.
func NewPrices(own []PriceRule) *Prices {
	return &Prices{own: ordered(own), prepared: builtIn()}
}

// ordered returns rules so that the first that fits is the one that holds: those of the same pool, model and tier together, in the place of the
// first of them, the newest first, and of the same date that for the longest requests first.
func ordered(rules []PriceRule) []PriceRule {
	type subject struct{ pool, model, tier string }
	of := func(r PriceRule) subject { return subject{r.Pool, r.Model, r.Tier} }
	places := map[subject]int{}
	for i, r := range rules {
		if _, ok := places[of(r)]; !ok {
			places[of(r)] = i
		}
	}
	rules = slices.Clone(rules)
	slices.SortStableFunc(rules, func(a, b PriceRule) int {
		return cmp.Or(cmp.Compare(places[of(a)], places[of(b)]), b.Since.Compare(a.Since), cmp.Compare(b.Above, a.Above))
	})
	return rules
}

// find returns the price of a model, and the version of the table that it stands in.
func (p *Prices) find(pool, model, tier string, at time.Time, read int64) (*PriceRule, string) {
	switch tier {
	case "auto", "default", "standard": // what providers call the usual one
		tier = ""
	}
	for which, table := range [][]PriceRule{p.own, p.prepared} {
		for i := range table {
			r := &table[i]
			if !r.fits(pool, model, tier, at, read) {
				continue
			}
			switch {
			case which == 1:
				return r, TableDate
			case r.Since.IsZero():
				return r, "own"
			}
			return r, "own " + r.Since.Format(time.DateOnly)
		}
	}
	return nil, ""
}

// Of returns what t cost: the sum of its attempts where they know their usage, each at the price of its own pool and model, else that of the whole.
func (p *Prices) Of(t *Turn) Price {
	sum := Price{Priced: t.Usage.State == Complete || t.Ending == Refused}
	var pico, high uint64
	add := func(pool, model string, u *Usage) {
		if u.Input|u.Output == 0 {
			return
		}
		r, table := p.find(pool, model, t.Tier, t.Start, u.Input)
		if r == nil {
			sum.Priced, sum.Unpriced = false, sum.Unpriced+u.Input+u.Output
			return
		}
		sum.Table = cmp.Or(sum.Table, table)
		cached := min(u.CacheRead, u.Input)
		written := min(u.CacheWrite, u.Input-cached)
		for _, part := range []struct {
			tokens int64
			rate   Rate
		}{
			{u.Input - cached - written, r.Input}, {cached, *cmp.Or(r.Cached, &r.Input)}, {written, *cmp.Or(r.CacheWrite, &r.Input)}, {u.Output, r.Output},
		} {
			h, l := bits.Mul64(uint64(part.tokens), uint64(part.rate))
			var carry uint64
			pico, carry = bits.Add64(pico, l, 0)
			high += h + carry
		}
	}
	each := false
	for i := range t.Attempts {
		a := &t.Attempts[i]
		if a.Usage.State != Unknown {
			each = true
			add(a.Pool, cmp.Or(a.Model, t.Answered, t.Asked), &a.Usage)
		}
	}
	if !each {
		add(t.Pool, cmp.Or(t.Answered, t.Asked), &t.Usage)
	}
	if high >= 1000/2 { // more than a number of nano-dollars holds: nobody's price
		return Price{Unpriced: t.Usage.Input + t.Usage.Output}
	}
	nano, rest := bits.Div64(high, pico, 1000)
	if rest >= 500 {
		nano++
	}
	sum.Nano = int64(min(nano, 1<<62)) // above: 4 billion US dollars
	return sum
}
