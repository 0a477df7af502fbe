package quota

import (
	"container/list"
	"time"
)

// What a request is expected to use before anything is known of its client.
const (
	bytesPerToken   = 4       // of a request's body
	maxInput        = 256_000 // tokens: what is larger holds pictures and the like
	firstInput      = 1000    // tokens, where nobody knows how long the body is
	firstOutput     = 1000
	firstRate       = 5000 // billionths of a dollar a token
	learning        = 8    // of so many requests the averages are about
	maxPerRequest   = 1 << 40
	streamBytes     = 100 // of a streamed answer, for a token
	secondsPerDay   = 24 * 60 * 60
	reservedReturns = 5 * time.Second // when a client may try again that is over a limit by what is reserved alone
)

// account is what a client has used.
type account struct {
	name     string
	limits   *Limits // that hold for it; nil: none
	place    *list.Element
	open     int // entries
	inFlight int

	reserved     int64 // tokens of the open entries
	reservedNano int64
	requests     window
	tokens       window
	day          int64 // since 1970, in UTC
	dayTokens    int64
	month        int64 // since the year 0, in UTC
	monthNano    int64

	input, output, rate int64 // averages of what its requests used: tokens, tokens, billionths of a dollar a token
}

func newAccount(name string, now time.Time) *account {
	return &account{name: name, day: dayOf(now), month: monthOf(now), input: firstInput, output: firstOutput, rate: firstRate}
}

func dayOf(t time.Time) int64 { return floor(t.Unix(), secondsPerDay) }

func floor(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

func monthOf(t time.Time) int64 {
	t = t.UTC()
	return int64(t.Year())*12 + int64(t.Month()) - 1
}

// turn begins a new day or month. A clock that is set back begins none: what was used stays.
func (a *account) turn(now time.Time) {
	if day := dayOf(now); day != a.day {
		if day > a.day {
			a.dayTokens = 0
		}
		a.day = day
	}
	if month := monthOf(now); month != a.month {
		if month > a.month {
			a.monthNano = 0
		}
		a.month = month
	}
}

// over is the first of the limits that the client has reached, and when it may try again.
func (a *account) over(at time.Duration, now time.Time) (*Refusal, bool) {
	l := a.limits
	day := now.UTC().Truncate(24 * time.Hour)
	switch {
	case l.Parallel > 0 && a.inFlight >= l.Parallel:
		return &Refusal{Limit: Parallel, Most: int64(l.Parallel), Retry: time.Second}, true
	case l.RequestsPerMinute > 0 && reached(&a.requests, at, l.RequestsPerMinute, 0):
		return &Refusal{Limit: RequestsPerMinute, Most: l.RequestsPerMinute, Retry: a.requests.below(at, l.RequestsPerMinute)}, true
	case l.TokensPerMinute > 0 && reached(&a.tokens, at, l.TokensPerMinute, a.reserved):
		retry := reservedReturns
		if a.reserved < l.TokensPerMinute {
			retry = a.tokens.below(at, l.TokensPerMinute-a.reserved)
		}
		return &Refusal{Limit: TokensPerMinute, Most: l.TokensPerMinute, Retry: retry}, true
	case l.TokensPerDay > 0 && a.dayTokens >= l.TokensPerDay:
		return &Refusal{Limit: TokensPerDay, Most: l.TokensPerDay, Retry: day.AddDate(0, 0, 1).Sub(now)}, true
	case l.TokensPerDay > 0 && a.dayTokens+a.reserved >= l.TokensPerDay:
		return &Refusal{Limit: TokensPerDay, Most: l.TokensPerDay, Retry: reservedReturns}, true
	case l.SpendPerMonth > 0 && a.monthNano >= l.SpendPerMonth:
		return &Refusal{Limit: SpendPerMonth, Most: l.SpendPerMonth, Retry: day.AddDate(0, 1, 1-day.Day()).Sub(now)}, true
	case l.SpendPerMonth > 0 && a.monthNano+a.reservedNano >= l.SpendPerMonth:
		return &Refusal{Limit: SpendPerMonth, Most: l.SpendPerMonth, Retry: reservedReturns}, true
	}
	return nil, false
}

func reached(w *window, at time.Duration, limit, reserved int64) bool {
	w.turn(at)
	return w.sum+reserved >= limit
}

// expect is how many tokens a request of the client is expected to use. body is in bytes, negative where nobody knows; output is the most that
// the request lets the model write, zero where nobody knows.
func (a *account) expect(body, output int64) int64 {
	input := a.input
	if body >= 0 {
		input = min((body+bytesPerToken-1)/bytesPerToken, maxInput)
	}
	if output <= 0 {
		output = a.output
	}
	return input + min(output, maxPerRequest)
}

// use counts what a request has used.
func (a *account) use(at time.Duration, now time.Time, s *Spent) {
	a.turn(now)
	input, output, nano := min(max(s.Input, 0), maxPerRequest), min(max(s.Output, 0), maxPerRequest), min(max(s.Nano, 0), MaxSpend)
	tokens := input + output
	a.tokens.add(at, tokens)
	a.dayTokens += tokens
	a.monthNano += nano
	if tokens > 0 {
		a.input += (input - a.input) / learning
		a.output += (output - a.output) / learning
		a.rate += (nano/tokens - a.rate) / learning
	}
}

// Standing is what a client has of its limits.
type Standing struct {
	Client   string
	Limits   Limits
	Own      bool          // it has an entry of its own
	InFlight int           // requests, where Limits.Parallel counts them
	Requests int64         // that began within the last minute
	Tokens   int64         // of the answers that ended within the last minute
	Reserved int64         // tokens of the requests whose records have not come
	Day      int64         // tokens of this day
	Month    int64         // billionths of a US dollar of this month
	ResetsIn time.Duration // until the last minute's requests and tokens are forgotten, at most
}

func (a *account) standing(at time.Duration, now time.Time) Standing {
	a.turn(now)
	s := Standing{
		Client: a.name, InFlight: a.inFlight, Requests: a.sum(&a.requests, at), Tokens: a.sum(&a.tokens, at), Reserved: a.reserved, Day: a.dayTokens, Month: a.monthNano,
		ResetsIn: max(a.requests.below(at, 1), a.tokens.below(at, 1)),
	}
	if a.limits != nil {
		s.Limits = *a.limits
	}
	return s
}

func (a *account) sum(w *window, at time.Duration) int64 {
	w.turn(at)
	return w.sum
}
