package quota

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/coder/quartz"
	"github.com/stretchr/testify/require"
)

// noon is in the middle of a day, and of a month of 30 days.
var noon = time.Date(2026, 11, 15, 12, 0, 0, 0, time.UTC)

func newBook(t testing.TB, s Settings) (*Book, *quartz.Mock) {
	t.Helper()
	clock := quartz.NewMock(t).WithLogger(quartz.NoOpLogger)
	clock.Set(noon)
	require.NoError(t, s.Validate())
	b := New(clock)
	b.Set(s)
	return b, clock
}

func pass(t testing.TB, clock *quartz.Mock, d time.Duration) {
	t.Helper()
	clock.Advance(d).MustWait(context.Background())
}

func TestLimits(t *testing.T) {
	type step struct {
		after time.Duration
		do    func(b *Book)
		begin string // the id of a request of ann's; "": none
		again bool
		pool  string
		want  string // of the refusal, as "limit retry"; "": it is let in
	}
	spend := func(id string, tokens, nano int64) func(*Book) {
		return func(b *Book) { b.End(id, false); b.Spend(Spent{ID: id, Client: "ann", Input: tokens, Nano: nano}) }
	}
	end := func(id string) func(*Book) { return func(b *Book) { b.End(id, false) } }
	next := func(id string) func(*Book) { return func(b *Book) { b.Next(id) } }
	for _, tc := range []struct {
		name   string
		limits Limits
		steps  []step
	}{
		{"nothing is bounded", Limits{}, []step{{begin: "1"}, {begin: "2"}}},
		{"pools", Limits{Pools: []string{"a"}}, []step{{begin: "1", pool: "a"}, {begin: "2", pool: "b", want: "pools 0s"}, {begin: "1", pool: "b", again: true}}},
		{"requests in any minute", Limits{RequestsPerMinute: 2}, []step{
			{begin: "1"},
			{begin: "2", after: 30 * time.Second},
			{begin: "3", want: "requests_per_minute 31s"},
			{begin: "3", after: 31 * time.Second},
			{begin: "4", want: "requests_per_minute 30s"},
			{begin: "4", after: 30 * time.Second},
		}},
		{"an attempt more is no request more", Limits{RequestsPerMinute: 1}, []step{{begin: "1"}, {begin: "1", again: true}, {begin: "2", want: "requests_per_minute 1m1s"}}},
		{"at the same time", Limits{Parallel: 2}, []step{
			{begin: "1"}, {begin: "2"}, {begin: "3", want: "parallel 1s"}, {do: end("1"), begin: "3"}, {begin: "4", want: "parallel 1s"},
		}},
		{"between two attempts a request keeps its place", Limits{Parallel: 1}, []step{
			{begin: "1"},
			{do: next("1"), begin: "2", want: "parallel 1s"},
			{begin: "1", again: true},
			{begin: "2", want: "parallel 1s"},
			{do: end("1"), begin: "2"},
		}},
		{"the next attempt never comes", Limits{Parallel: 1}, []step{{begin: "1"}, {do: next("1"), begin: "2", want: "parallel 1s"}, {after: nextTime, begin: "2"}}},
		{"an attempt begins before the one before it has ended", Limits{Parallel: 1}, []step{
			{begin: "1"}, {begin: "1", again: true}, {do: end("1"), begin: "2", want: "parallel 1s"}, {do: end("1"), begin: "2"},
		}},
		{"an end that comes twice", Limits{Parallel: 1}, []step{{begin: "1"}, {do: end("1"), begin: "2"}, {do: end("1"), begin: "3", want: "parallel 1s"}}},
		{"tokens of a minute, reserved until the record says how many", Limits{TokensPerMinute: 1000}, []step{
			{begin: "1"},
			{begin: "2", want: "tokens_per_minute 5s"},
			{do: spend("1", 999, 0), begin: "2"},
			{do: spend("2", 1, 0), begin: "3", want: "tokens_per_minute 1m1s"},
			{after: 61 * time.Second, begin: "3"},
		}},
		{"a record that never comes", Limits{TokensPerMinute: 1000}, []step{
			{begin: "1"}, {do: end("1"), begin: "2", want: "tokens_per_minute 5s"}, {after: recordTime, begin: "2"},
		}},
		{"tokens of a day", Limits{TokensPerDay: 3000}, []step{
			{begin: "1"},
			{do: spend("1", 3000, 0), begin: "2", want: "tokens_per_day 12h0m0s"},
			{after: 12*time.Hour - time.Second, begin: "2", want: "tokens_per_day 1s"},
			{after: time.Second, begin: "2"},
		}},
		{"spend of a month", Limits{SpendPerMonth: Dollar}, []step{
			{begin: "1"}, {do: spend("1", 10, Dollar), begin: "2", want: "spend_per_month 372h0m0s"}, {after: 372 * time.Hour, begin: "2"},
		}},
		{"spend that is reserved at what tokens cost until now", Limits{SpendPerMonth: Dollar / 5}, []step{
			{begin: "1"}, {do: spend("1", 100, Dollar/10), begin: "2"}, // a thousandth of a dollar a token, of which an eighth is believed
			{begin: "3", want: "spend_per_month 5s"}, {do: spend("2", 0, 0), begin: "3"},
		}},
		{"what a record says of a request that nobody let in", Limits{TokensPerDay: 10}, []step{{do: spend("x", 10, 0), begin: "1", want: "tokens_per_day 12h0m0s"}}},
		{"the record comes before the stream ends", Limits{TokensPerDay: 5000, Parallel: 1}, []step{
			{begin: "1"}, {do: func(b *Book) { b.Spend(Spent{ID: "1", Input: 10}) }, begin: "2", want: "parallel 1s"}, {do: end("1"), begin: "2"},
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b, clock := newBook(t, Settings{"ann": tc.limits})
			for i, s := range tc.steps {
				pass(t, clock, s.after)
				if s.do != nil {
					s.do(b)
				}
				if s.begin == "" {
					continue
				}
				_, refusal := b.Begin(Request{ID: s.begin, Client: "ann", Pool: s.pool, Body: 0, Again: s.again})
				got := ""
				if refusal != nil {
					got = fmt.Sprint(refusal.Limit, " ", refusal.Retry)
				}
				require.Equal(t, s.want, got, "step %d", i)
			}
		})
	}
}

// An account is a client's own; those without a name have one together.
func TestAccounts(t *testing.T) {
	b, _ := newBook(t, Settings{Default: {RequestsPerMinute: 1}, "ann": {RequestsPerMinute: 2}})
	for i, tc := range []struct {
		client string
		in     bool
	}{{"ann", true}, {"ann", true}, {"ann", false}, {"bob", true}, {"bob", false}, {"cleo", true}, {"", true}, {"", false}} {
		_, refusal := b.Begin(Request{ID: strconv.Itoa(i), Client: tc.client})
		require.Equal(t, tc.in, refusal == nil, "%d %s", i, tc.client)
	}
	standings := b.Standings()
	require.Len(t, standings, 4)
	require.Equal(t, Standing{Client: "ann", Own: true, Limits: Limits{RequestsPerMinute: 2}, Requests: 2, ResetsIn: 61 * time.Second}, standings[1])
	require.EqualValues(t, 3, b.Refused(RequestsPerMinute))
}

func TestReload(t *testing.T) {
	b, _ := newBook(t, Settings{"ann": {TokensPerDay: 100}})
	b.Spend(Spent{ID: "1", Client: "ann", Input: 100})
	begin := func(id string) *Refusal { _, r := b.Begin(Request{ID: id, Client: "ann"}); return r }
	require.NotNil(t, begin("2"))
	b.Set(Settings{"ann": {TokensPerDay: 101}})
	require.Nil(t, begin("2"))
	b.Set(Settings{})
	require.Nil(t, begin("3"))
	b.Set(Settings{Default: {TokensPerDay: 100}})
	require.NotNil(t, begin("4"), "what was used stays used")
}

// A clock that is set back gives nothing back, and one that is set forward and back again does not stop anything.
func TestClockSteps(t *testing.T) {
	b, clock := newBook(t, Settings{"ann": {TokensPerDay: 100, RequestsPerMinute: 10}})
	b.Spend(Spent{ID: "1", Client: "ann", Input: 100})
	begin := func() *Refusal { _, r := b.Begin(Request{ID: "2", Client: "ann"}); return r }
	require.NotNil(t, begin())
	a := b.accounts["ann"]
	a.turn(noon.Add(-24 * time.Hour))
	require.EqualValues(t, 100, a.dayTokens)
	a.turn(noon)
	require.Zero(t, a.dayTokens, "a day begins")
	b.Spend(Spent{ID: "1", Client: "ann", Input: 100})
	a.turn(noon.AddDate(10, 0, 0))
	a.turn(noon)
	require.Zero(t, a.dayTokens)
	pass(t, clock, 0)
	require.Nil(t, begin())
}

func TestRestore(t *testing.T) {
	b, _ := newBook(t, Settings{Default: {TokensPerDay: 100, SpendPerMonth: 100}})
	refusal := func(client string) string {
		_, r := b.Begin(Request{ID: client, Client: client})
		if r == nil {
			return ""
		}
		b.End(client, true)
		return r.Limit.String()
	}
	b.Spend(Spent{ID: "x", Client: "cleo", Input: 60})
	b.Restore(Used{At: noon, Tokens: map[string]int64{"ann": 100, "cleo": 50}, Nano: map[string]int64{"bob": 100}})
	require.Equal(t, "tokens_per_day", refusal("ann"))
	require.Equal(t, "spend_per_month", refusal("bob"))
	s, _ := b.Standing("cleo")
	require.EqualValues(t, 60, s.Day)
	b.Restore(Used{At: noon.Add(-24 * time.Hour), Tokens: map[string]int64{"cleo": 1000}})
	s, _ = b.Standing("cleo")
	require.EqualValues(t, 60, s.Day, "of another day")
}

// Whatever is sent, memory is bounded and a client that is in flight is not forgotten.
func TestBounds(t *testing.T) {
	b, _ := newBook(t, Settings{Default: {TokensPerDay: MaxCount, Parallel: MaxParallel}})
	_, r := b.Begin(Request{ID: "first", Client: "first"})
	require.Nil(t, r)
	for i := range maxAccounts + 100 {
		b.Begin(Request{Client: "c" + strconv.Itoa(i)})
	}
	require.Len(t, b.accounts, maxAccounts)
	require.Equal(t, len(b.accounts), b.recent.Len())
	s, ok := b.Standing("first")
	require.True(t, ok)
	require.Equal(t, 1, s.InFlight)
	for i := range maxEntries + 100 {
		id := strconv.Itoa(i)
		b.Begin(Request{ID: id, Client: "ann"})
		b.End(id, false)
	}
	require.LessOrEqual(t, len(b.entries), maxEntries)
	require.LessOrEqual(t, len(b.Standings()), maxShown)
}

// FuzzBook holds what must be true whatever comes in whatever order: nothing is negative, what is reserved is that of the entries, and never more
// than Parallel run.
func FuzzBook(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10})
	f.Add([]byte{0, 0, 2, 0, 3, 5, 0, 8, 16, 24, 1, 9, 17})
	f.Fuzz(func(t *testing.T, steps []byte) {
		l := Limits{Parallel: 3, TokensPerMinute: 5000, RequestsPerMinute: 20, TokensPerDay: 50_000, SpendPerMonth: Dollar}
		b, clock := newBook(t, Settings{Default: l})
		for _, step := range steps[:min(len(steps), 500)] {
			id := strconv.Itoa(int(step >> 4))
			switch step & 7 {
			case 0, 1:
				b.Standings() // gives up what is waited for no longer
				before := 0
				if a := b.accounts["ann"]; a != nil {
					before = a.inFlight
				}
				known := b.entries[id] != nil
				if _, r := b.Begin(Request{ID: id, Client: "ann", Body: int64(step) * 10, Again: known}); r == nil && !known {
					require.Less(t, before, 3)
				}
			case 2:
				b.End(id, step&8 != 0)
			case 3:
				b.Next(id)
			case 4:
				b.Spend(Spent{ID: id, Client: "ann", Input: int64(step), Output: -5, Nano: int64(step) * 1000})
			case 5:
				b.Expect(id, int64(step)*1000)
			case 6:
				pass(t, clock, time.Duration(step)*time.Second)
			case 7:
				b.Set(Settings{Default: l})
			}
			check(t, b)
		}
	})
}

// check holds a book to what the sums of its parts are.
func check(t testing.TB, b *Book) {
	t.Helper()
	reserved, open, flying := map[*account]int64{}, map[*account]int{}, map[*account]int{}
	for _, e := range b.entries {
		reserved[e.account] += e.tokens
		open[e.account]++
		if e.attempts > 0 || e.in == b.between {
			flying[e.account]++
		}
	}
	for _, a := range b.accounts {
		require.Equal(t, reserved[a], a.reserved)
		require.Equal(t, open[a], a.open)
		require.Equal(t, flying[a], a.inFlight)
		require.GreaterOrEqual(t, a.dayTokens, int64(0))
		require.GreaterOrEqual(t, a.reservedNano, int64(0))
		sum := int64(0)
		for _, n := range a.tokens.slots {
			sum += n
		}
		require.Equal(t, sum, a.tokens.sum)
	}
}

// A window is held to a list of all that happened: it never has less than the last minute, nor anything older than two seconds more.
func TestWindow(t *testing.T) {
	type event struct {
		at time.Duration
		n  int64
	}
	for seed := range uint64(50) {
		random := rand.New(rand.NewPCG(seed, 1))
		w, at := window{}, time.Duration(0)
		var all []event
		for range 300 {
			at += time.Duration(random.Int64N(int64(5 * time.Second)))
			if random.IntN(20) == 0 {
				at += time.Duration(random.Int64N(int64(200 * time.Second)))
			}
			n := random.Int64N(100)
			w.add(at, n)
			all = append(all, event{at, n})
			least, most := int64(0), int64(0)
			for _, e := range all {
				if at-e.at < windowTime {
					least += e.n
				}
				if at-e.at < windowTime+2*time.Second {
					most += e.n
				}
			}
			require.GreaterOrEqual(t, w.sum, least)
			require.LessOrEqual(t, w.sum, most)
			limit := 1 + random.Int64N(w.sum+1)
			wait := w.below(at, limit)
			later := w
			later.turn(at + wait)
			require.Less(t, later.sum, max(limit, 1))
			if wait > 0 {
				before := w
				before.turn(at + wait - time.Nanosecond)
				require.GreaterOrEqual(t, before.sum, limit)
			}
		}
	}
}

// Many at once never get in beside one another where one may.
func TestHammer(t *testing.T) {
	b := New(quartz.NewReal())
	b.Set(Settings{Default: {Parallel: 3, TokensPerDay: MaxCount}})
	var mu sync.Mutex
	running, most := 0, 0
	var all sync.WaitGroup
	for g := range 8 {
		all.Go(func() {
			for i := range 1000 {
				id := fmt.Sprint(g, "-", i)
				if _, r := b.Begin(Request{ID: id, Client: "ann", Body: 10}); r != nil {
					continue
				}
				mu.Lock()
				running++
				most = max(most, running)
				mu.Unlock()
				mu.Lock()
				running--
				mu.Unlock()
				b.End(id, false)
				b.Spend(Spent{ID: id, Client: "ann", Input: 5})
			}
		})
	}
	all.Wait()
	require.LessOrEqual(t, most, 3)
	require.Empty(t, b.entries)
	check(t, b)
}

func TestValidate(t *testing.T) {
	err := Settings{"ann": {Parallel: -1, SpendPerMonth: MaxSpend + 1}, Default: {TokensPerDay: MaxCount + 1}}.Validate()
	require.EqualError(t, err, "ann.spend_per_month: found 1000000000000001; write at most 1000000000000000\nann.parallel: found -1; write at least 1\n"+
		"default.tokens_per_day: found 1000000000001; write at most 1000000000000")
}

func BenchmarkBegin(b *testing.B) {
	for _, clients := range []int{0, 1, 1000} {
		b.Run(strconv.Itoa(clients), func(b *testing.B) {
			book := New(quartz.NewReal())
			if clients > 0 {
				book.Set(Settings{Default: {Parallel: MaxParallel, RequestsPerMinute: MaxCount, TokensPerMinute: MaxCount, TokensPerDay: MaxCount}})
			}
			names, ids := make([]string, max(clients, 1)), make([]string, 1024)
			for i := range names {
				names[i] = "client" + strconv.Itoa(i)
			}
			for i := range ids {
				ids[i] = "3f0c9f5e-4a35-4a5c-9a34-" + strconv.Itoa(i)
			}
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					id := ids[i%len(ids)]
					book.Begin(Request{ID: id, Client: names[i%len(names)], Body: 1000})
					book.End(id, false)
					book.Spend(Spent{ID: id, Input: 100})
				}
			})
		})
	}
}
