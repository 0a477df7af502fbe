package record_test

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/record"
)

func rate(t testing.TB, s string) *record.Rate {
	t.Helper()
	r, err := record.ParseRate(s)
	require.NoError(t, err)
	return &r
}

func TestRates(t *testing.T) {
	for s, want := range map[string]record.Rate{"1.25": 1_250_000, "0": 0, "3": 3_000_000, "0.0375": 37_500, ".5": 500_000, "0.000001": 1, "100000": record.MaxRate} {
		got, err := record.ParseRate(s)
		require.NoError(t, err, s)
		require.Equal(t, want, got, s)
	}
	for _, s := range []string{"", ".", "-1", "1e3", "0.0000001", "1.2.3", "$1", "100000.000001", "1 ", "9999999", "0x1"} {
		_, err := record.ParseRate(s)
		require.Error(t, err, s)
	}
	require.Equal(t, "1.25", record.Rate(1_250_000).String())
	require.Equal(t, "3", record.Rate(3_000_000).String())
}

func priced(usage record.Usage, change func(*record.Turn)) *record.Turn {
	usage.State = record.Complete
	t := &record.Turn{Pool: "p", Asked: "m", Answered: "m-1", Start: time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC), Usage: usage}
	if change != nil {
		change(t)
	}
	return t
}

func TestPriceOfATurn(t *testing.T) {
	million := record.Usage{Input: 1_000_000, CacheRead: 200_000, CacheWrite: 100_000, Output: 500_000, Reasoning: 100_000}
	june := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	p := record.NewPrices([]record.PriceRule{
		{Model: "special", Pool: "dear", Input: *rate(t, "7"), Output: *rate(t, "7")},
		{Model: "m*", Input: *rate(t, "1"), Output: *rate(t, "10"), Cached: rate(t, "0.1"), CacheWrite: rate(t, "1.25")},
		{Model: "m*", Tier: "flex", Input: *rate(t, "0.5"), Output: *rate(t, "5")},
		{Model: "m*", Above: 2_000_000, Input: *rate(t, "2"), Output: *rate(t, "15")},
		{Model: "n", Input: *rate(t, "1"), Output: *rate(t, "1")},
		{Model: "n", Since: june, Input: *rate(t, "2"), Output: *rate(t, "2")},
		{Model: "free*", Input: 0, Output: 0},
	})
	const dollar = 1_000_000_000
	for name, c := range map[string]struct {
		turn *record.Turn
		want record.Price
	}{
		"each kind of token":                 {priced(million, nil), record.Price{Nano: 7*dollar/10 + 2*dollar/100 + 125*dollar/1000 + 5*dollar, Priced: true, Table: "own"}},
		"a tier":                             {priced(million, func(t *record.Turn) { t.Tier = "flex" }), record.Price{Nano: 3 * dollar, Priced: true, Table: "own"}},
		"the usual tier":                     {priced(record.Usage{Output: 1_000_000}, func(t *record.Turn) { t.Tier = "default" }), record.Price{Nano: 10 * dollar, Priced: true, Table: "own"}},
		"an unknown tier":                    {priced(million, func(t *record.Turn) { t.Tier = "gold" }), record.Price{Unpriced: 1_500_000}},
		"as long as that":                    {priced(record.Usage{Input: 2_000_000}, nil), record.Price{Nano: 2 * dollar, Priced: true, Table: "own"}},
		"longer":                             {priced(record.Usage{Input: 2_000_001}, nil), record.Price{Nano: 4*dollar + 2000, Priced: true, Table: "own"}},
		"before the change":                  {priced(record.Usage{Input: 1_000_000}, func(t *record.Turn) { t.Answered, t.Start = "n", june.Add(-1) }), record.Price{Nano: dollar, Priced: true, Table: "own"}},
		"after the change":                   {priced(record.Usage{Input: 1_000_000}, func(t *record.Turn) { t.Answered, t.Start = "n", june }), record.Price{Nano: 2 * dollar, Priced: true, Table: "own 2026-06-01"}},
		"another pool's":                     {priced(million, func(t *record.Turn) { t.Answered = "special" }), record.Price{Unpriced: 1_500_000}},
		"its own pool's":                     {priced(record.Usage{Input: 1_000_000}, func(t *record.Turn) { t.Answered, t.Pool = "special", "dear" }), record.Price{Nano: 7 * dollar, Priced: true, Table: "own"}},
		"asked for":                          {priced(record.Usage{Input: 1_000_000}, func(t *record.Turn) { t.Answered = "" }), record.Price{Nano: dollar, Priced: true, Table: "own"}},
		"free by the table":                  {priced(million, func(t *record.Turn) { t.Answered = "freebie/7b" }), record.Price{Priced: true, Table: "own"}},
		"no usage":                           {priced(record.Usage{}, func(t *record.Turn) { t.Usage.State = record.Unknown }), record.Price{}},
		"a part of its usage":                {priced(record.Usage{Output: 1000}, func(t *record.Turn) { t.Usage.State = record.Partial }), record.Price{Nano: 10_000_000, Table: "own"}},
		"never left":                         {priced(record.Usage{}, func(t *record.Turn) { t.Usage.State, t.Ending = record.Unknown, record.Refused }), record.Price{Priced: true}},
		"built in":                           {priced(record.Usage{Input: 1_000_000}, func(t *record.Turn) { t.Answered = "gpt-5-mini-2025-08-07" }), record.Price{Nano: dollar / 4, Priced: true, Table: record.TableDate}},
		"half a nano up":                     {priced(record.Usage{Input: 1, CacheRead: 1}, func(t *record.Turn) { t.Answered = "gpt-4o-mini" }), record.Price{Nano: 75, Priced: true, Table: record.TableDate}},
		"too much to be true":                {priced(record.Usage{Input: 1 << 40, Output: 1 << 40}, func(t *record.Turn) { t.Pool, t.Answered = "dear", "special" }), record.Price{Nano: 7 * (1 << 41) * 1000, Priced: true, Table: "own"}},
		"more cached than read, says a liar": {priced(record.Usage{Input: 1_000_000, CacheRead: 1 << 40, CacheWrite: 1 << 40}, nil), record.Price{Nano: dollar / 10, Priced: true, Table: "own"}},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, c.want, p.Of(c.turn)) })
	}
}

// Each attempt's tokens have the price of its own pool and model; what nobody prices is counted beside what is.
func TestPriceOfAttempts(t *testing.T) {
	p := record.NewPrices([]record.PriceRule{
		{Model: "a", Input: *rate(t, "1"), Output: *rate(t, "1")},
		{Model: "a", Above: 100, Input: *rate(t, "1000"), Output: *rate(t, "1000")},
		{Model: "b", Pool: "other*", Input: *rate(t, "2"), Output: *rate(t, "2")},
	})
	attempt := func(pool, model string, in, out int64) record.Attempt {
		return record.Attempt{Pool: pool, Model: model, Usage: record.Usage{Input: in, Output: out, State: record.Complete}}
	}
	turn := priced(record.Usage{Input: 160, Output: 9}, func(t *record.Turn) {
		t.Attempts = []record.Attempt{
			{Pool: "p", Status: 429}, attempt("p", "a", 80, 1), attempt("p", "a", 80, 1), attempt("other-1", "b", 0, 5), attempt("p", "b", 0, 2),
		}
	})
	require.Equal(t, record.Price{Nano: 162_000 + 10_000, Table: "own", Unpriced: 2}, p.Of(turn), "none of the requests was longer than 100")
}

// Money is exact: no float is in the way.
func TestPriceIsExact(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 5000 {
		r := record.PriceRule{Model: "*", Input: record.Rate(rnd.Int64N(int64(record.MaxRate))), Output: record.Rate(rnd.Int64N(100_000_000))}
		u := record.Usage{Input: rnd.Int64N(1 << rnd.IntN(40)), Output: rnd.Int64N(1 << rnd.IntN(40))}
		exact := new(big.Int).Mul(big.NewInt(u.Input), big.NewInt(int64(r.Input)))
		exact.Add(exact, new(big.Int).Mul(big.NewInt(u.Output), big.NewInt(int64(r.Output))))
		exact.Add(exact, big.NewInt(500)).Div(exact, big.NewInt(1000))
		if exact.Cmp(big.NewInt(math.MaxInt64/2)) > 0 {
			continue
		}
		require.Equal(t, exact.Int64(), record.NewPrices([]record.PriceRule{r}).Of(priced(u, nil)).Nano)
	}
}

func TestBuiltInPrices(t *testing.T) {
	p := record.NewPrices(nil)
	million := record.Usage{Input: 1_000_000}
	for model, dollars := range map[string]int64{"gpt-5.5": 10, "claude-opus-5": 5, "claude-opus-4-1-20250805": 15, "gemini-2.5-pro": 0} {
		got := p.Of(priced(million, func(t *record.Turn) { t.Answered = model }))
		require.True(t, got.Priced, model)
		if dollars > 0 {
			require.Equal(t, dollars*1_000_000_000, got.Nano, model)
		}
	}
	require.False(t, p.Of(priced(million, func(t *record.Turn) { t.Answered = "gpt-5-unheard-of" })).Priced, "a name that only begins like another is not its price")
	cached := record.Usage{Input: 1_000_000, CacheRead: 1_000_000}
	change := time.Date(2026, 10, 7, 0, 0, 0, 0, time.UTC)
	require.EqualValues(t, 200_000_000, p.Of(priced(cached, func(t *record.Turn) { t.Answered, t.Start = "claude-sonnet-5-5", change.Add(-time.Second) })).Nano)
	require.EqualValues(t, 100_000_000, p.Of(priced(cached, func(t *record.Turn) { t.Answered, t.Start = "claude-sonnet-5-5", change })).Nano)
}

func TestSettings(t *testing.T) {
	require.NoError(t, record.Settings{}.Validate())
	require.NoError(t, record.Settings{SQLite: "/var/lib/keyturn", Required: true}.Validate())
	for want, s := range map[string]record.Settings{
		"required: found true":                  {Required: true},
		"postgres: records go to one store":     {SQLite: "a", Postgres: record.Postgres{URL: "postgres://u:secret@h/d"}},
		"postgres.url: what it refers to":       {Postgres: record.Postgres{URL: "mysql://u:secret@h/d"}},
		"retain.for: found 1m":                  {Retain: record.Retention{For: time.Minute}},
		"content.retain.bytes: found 1KiB":      {Content: record.ContentSettings{Retain: record.Retention{Bytes: 1 << 10}}},
		"prices[0].model: found no model":       {Prices: []record.PriceRule{{}}},
		"prices[0].pool: found no pattern":      {Prices: []record.PriceRule{{Model: "m", Pool: "["}}},
		"prices[0].cached: found -1":            {Prices: []record.PriceRule{{Model: "m", Cached: new(record.Rate)}, {Model: "m"}}},
		"prices[0].above: found -1 tokens":      {Prices: []record.PriceRule{{Model: "m", Above: -1}}},
		"sqlite: found a path with a NUL in it": {SQLite: "a\x00"},
	} {
		if len(s.Prices) == 2 {
			*s.Prices[0].Cached = -1_000_000
			s.Prices = s.Prices[:1]
		}
		err := s.Validate()
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "secret")
	}
}
