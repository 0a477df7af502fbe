package quota

import (
	"slices"
	"strconv"

	"github.com/keyturn/keyturn/internal/setting"
)

// Default is the name whose limits hold for each client that has no entry of its own. Those without a name share one account.
const Default = "default"

// Limits are what one client may use. Zero fields bound nothing.
type Limits struct {
	Pools             []string // that it may use
	Models            []string // patterns of those that it may use; * stands for any text
	RequestsPerMinute int64    // that begin within any 60 seconds
	TokensPerMinute   int64    // read and written, of the answers that end within any 60 seconds
	TokensPerDay      int64    // in a day of UTC
	SpendPerMonth     int64    // billionths of a US dollar, in a month of UTC
	Parallel          int      // requests at the same time
}

// Settings are the limits by the clients' names, and by Default.
type Settings map[string]Limits

// Bounds of the settings, both ends included; what is zero is not set.
const (
	MaxCount    = 1_000_000_000_000  // requests and tokens
	MaxSpend    = 1_000_000 * Dollar // a month
	Dollar      = 1_000_000_000      // billionths
	MaxParallel = 100_000
)

// Validate returns what is wrong with the settings, every fault by the path of its field: "ann.parallel".
func (s Settings) Validate() error {
	var found setting.Problems
	names := make([]string, 0, len(s))
	for name := range s {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		found.AddWithin(name, s[name].problems())
	}
	return found.Err()
}

func (l Limits) problems() (found setting.Problems) {
	count := func(n int64) string { return strconv.FormatInt(n, 10) }
	for _, f := range []struct {
		name    string
		n, most int64
	}{
		{"requests_per_minute", l.RequestsPerMinute, MaxCount},
		{"tokens_per_minute", l.TokensPerMinute, MaxCount},
		{"tokens_per_day", l.TokensPerDay, MaxCount},
		{"spend_per_month", l.SpendPerMonth, MaxSpend},
		{"parallel", int64(l.Parallel), MaxParallel},
	} {
		if f.n != 0 {
			setting.Range(&found, f.name, f.n, 1, f.most, count)
		}
	}
	return found
}

// settles reports whether what a request has used in the end decides anything.
func (l *Limits) settles() bool { return l.TokensPerMinute+l.TokensPerDay+l.SpendPerMonth > 0 }

// Limit is one of the fields of Limits.
type Limit uint8

// The limits, in the order in which they are looked at.
const (
	Pools Limit = iota
	Models
	Parallel
	RequestsPerMinute
	TokensPerMinute
	TokensPerDay
	SpendPerMonth
	limits
)

var limitNames = [limits]string{"pools", "models", "parallel", "requests_per_minute", "tokens_per_minute", "tokens_per_day", "spend_per_month"}

// String returns the limit's name in the configuration.
func (l Limit) String() string { return limitNames[l] }

// All are the limits.
func All() []Limit {
	all := make([]Limit, limits)
	for i := range all {
		all[i] = Limit(i)
	}
	return all
}
