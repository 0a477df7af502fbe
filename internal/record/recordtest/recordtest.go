// Package recordtest holds every store of internal/record to the same answers.
package recordtest

import (
	"cmp"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/record"
)

// Midnight is the end of the first of the days that Turns are of.
var Midnight = time.Date(2026, 11, 30, 0, 0, 0, 0, time.UTC)

var many = flag.Bool("many", false, "hold stores to as many turns as their tests name, not to a fifth of them: takes minutes with the race detector")

// Many is n, or a fifth of it unless the flag -many is given: of turns and bytes where more of them show nothing else.
func Many(n int) int {
	if *many {
		return n
	}
	return n / 5
}

// Turns returns n turns around Midnight, bounded, in the order in which they ended.
func Turns(n int, seed uint64) []*record.Turn {
	rnd := rand.New(rand.NewPCG(seed, 1))
	turns := make([]*record.Turn, n)
	for i := range turns {
		turns[i] = turn(rnd, i)
	}
	slices.SortFunc(turns, func(a, b *record.Turn) int { return a.End.Compare(b.End) })
	return turns
}

func pick(rnd *rand.Rand, of ...string) string { return of[rnd.IntN(len(of))] }

// turn makes one. Whole seconds of a few hours, so that many begin at the same time.
func turn(rnd *rand.Rand, i int) *record.Turn {
	start := Midnight.Add(time.Duration(rnd.IntN(36*3600)-12*3600) * time.Second)
	t := &record.Turn{
		ID: fmt.Sprintf("%08x-%04d", rnd.Uint32(), i), Start: start, End: start.Add(time.Duration(rnd.IntN(90_000_000)) * time.Microsecond),
		Client: pick(rnd, "", "ci", "ann", "bob"), Session: pick(rnd, "", "s1", "s2", fmt.Sprint("s", i)), UserAgent: "codex/1.2 (Ubuntu; ünïcode)",
		Pool: pick(rnd, "openai", "anthropic", "dev"), Provider: "openai", Dialect: "responses", Method: "POST", Path: "/v1/responses",
		Asked: pick(rnd, "gpt-5", "gpt-5-mini", ""), Stream: rnd.IntN(2) == 0, Status: 200, FirstByte: time.Duration(rnd.Int64N(1e9)),
		Overhead: time.Duration(rnd.Int64N(1e6)), BytesIn: rnd.Int64N(1e6), BytesOut: rnd.Int64N(1e6), TraceID: strings.Repeat("ab", 16),
		SpanID: strings.Repeat("cd", 8), Key: pick(rnd, "main", "spare"), Turns: 1, Halves: record.Halves(rnd.IntN(4)), Tier: pick(rnd, "", "", "flex"),
		Usage: record.Usage{
			Input: rnd.Int64N(1e5), CacheRead: rnd.Int64N(100), CacheWrite: rnd.Int64N(10), Output: rnd.Int64N(1e4), Reasoning: rnd.Int64N(1e3),
			State: record.Complete,
		},
		Price: record.Price{Nano: rnd.Int64N(1e9), Priced: true, Table: "2026-11-30"},
	}
	t.Answered = t.Asked
	if t.Asked != "" && rnd.IntN(3) == 0 {
		t.Answered = t.Asked + "-2026-01-01"
	}
	t.Attempts = []record.Attempt{{
		Number: 1, Turn: 1, Pool: t.Pool, Key: t.Key, Hint: "sk-…abcd", Start: time.Millisecond, Duration: time.Second, Status: 200, Outcome: "success",
		Model: t.Answered, Usage: t.Usage,
	}}
	switch rnd.IntN(8) {
	case 0:
		t.Status, t.ErrorClass, t.Ending = 429, "rate_limited", record.Whole
		t.Usage, t.Price, t.Key = record.Usage{}, record.Price{Priced: false}, ""
	case 1:
		t.Status, t.ErrorClass, t.Ending = 0, "", record.Cancelled
		t.Usage.State, t.Cut = record.Partial, 3
	case 2:
		t.Status, t.ErrorClass, t.Ending, t.Attempts = 503, "exhausted", record.Refused, nil
		t.Usage, t.Price = record.Usage{}, record.Price{Priced: true}
	case 3:
		t.Price.Priced, t.Price.Unpriced = false, t.Usage.Output
	}
	for c := range rnd.IntN(3) {
		t.Calls = append(t.Calls, record.Call{
			ID: fmt.Sprint("call_", c), Server: "docs", Tool: "search", Turn: 1, Start: time.Second, Duration: 3 * time.Second, Outcome: "ok",
		})
	}
	t.Bound()
	return t
}

// Put writes turns and what they said as the queue does: a lot for each day.
func Put(t testing.TB, s record.Store, writer string, turns []*record.Turn, said []record.Content) {
	t.Helper()
	days := map[time.Time][]*record.Turn{}
	of := map[string]time.Time{}
	for _, turn := range turns {
		day := record.DayOf(turn.Start)
		days[day] = append(days[day], turn)
		of[turn.ID] = day
	}
	for day, turns := range days {
		for i := 0; len(turns) > 0; i++ {
			n := min(500, len(turns))
			require.NoError(t, s.PutTurns(t.Context(), record.Lot{Writer: writer, Number: int64(i + 1), Day: day}, turns[:n]))
			turns = turns[n:]
		}
	}
	for i, c := range said {
		require.NoError(t, s.PutContent(t.Context(), record.Lot{Writer: writer, Number: int64(i + 1), Day: of[c.ID]}, []record.Content{c}))
	}
}

// Queries are questions of every kind.
func Queries() map[string]record.Query {
	return map[string]record.Query{
		"all":            {},
		"some":           {Limit: 7},
		"from":           {From: Midnight.Add(90 * time.Minute)},
		"until":          {Until: Midnight},
		"an hour":        {From: Midnight.Add(-time.Hour), Until: Midnight, Limit: 1000},
		"part of a µs":   {From: Midnight.Add(-time.Hour + 1), Until: Midnight.Add(1), Limit: 1000},
		"nothing":        {From: Midnight.Add(time.Hour), Until: Midnight},
		"client":         {Client: "ann"},
		"session":        {Session: "s1"},
		"pool":           {Pool: "dev", Limit: 1000},
		"key":            {Key: "spare"},
		"model asked":    {Model: "gpt-5", Limit: 333},
		"model answered": {Model: "gpt-5-mini-2026-01-01"},
		"no such model":  {Model: "o1"},
		"status":         {Status: 429},
		"good":           {Status: 2, Limit: 400},
		"server's fault": {Status: 5},
		"class":          {ErrorClass: "rate_limited"},
		"failed":         {Failed: true, Limit: 100},
		"tools":          {WithTools: true},
		"much":           {Client: "ci", Pool: "openai", Model: "gpt-5", WithTools: true, From: Midnight.Add(-6 * time.Hour)},
		"failed model":   {Failed: true, Model: "gpt-5"},
	}
}

// selected is the answer to a query, newest first, told apart from the code that stores share.
func selected(turns []*record.Turn, q record.Query) (found []*record.Turn) {
	for _, t := range turns {
		hundred := q.Status > 0 && q.Status < 10 && t.Status/100 == q.Status
		if (q.From.IsZero() || t.Start.Compare(q.From) >= 0) && (q.Until.IsZero() || t.Start.Compare(q.Until) < 0) &&
			(q.Client == "" || t.Client == q.Client) && (q.Session == "" || t.Session == q.Session) && (q.Pool == "" || t.Pool == q.Pool) &&
			(q.Key == "" || t.Key == q.Key) && (q.Model == "" || t.Asked == q.Model || t.Answered == q.Model) &&
			(q.Status == 0 || t.Status == q.Status || hundred) && (q.ErrorClass == "" || t.ErrorClass == q.ErrorClass) &&
			(!q.Failed || t.ErrorClass != "") && (!q.WithTools || len(t.Calls) > 0) {
			found = append(found, t)
		}
	}
	slices.SortFunc(found, func(a, b *record.Turn) int {
		return cmp.Or(b.Start.Compare(a.Start), strings.Compare(b.ID, a.ID))
	})
	return found
}

// TestReader asks a reader that holds turns and said everything that one can ask.
func TestReader(t *testing.T, r record.Reader, turns []*record.Turn, said []record.Content) {
	for name, q := range Queries() {
		t.Run("turns/"+name, func(t *testing.T) {
			want := selected(turns, q)
			limit := cmp.Or(q.Limit, record.DefaultLimit)
			for pages := 0; ; pages++ {
				require.LessOrEqual(t, pages, len(turns)/limit+1)
				page, err := r.Turns(t.Context(), q)
				require.NoError(t, err)
				n := min(limit, len(want))
				require.Len(t, page.Turns, n)
				for i := range page.Turns {
					require.Equal(t, *want[i], page.Turns[i])
				}
				want = want[n:]
				if page.Next == "" {
					break
				}
				q.After = page.Next
			}
			require.Empty(t, want, "the last page says that there is no other")
		})
	}
	t.Run("turn", func(t *testing.T) {
		for _, want := range turns[:min(50, len(turns))] {
			got, err := r.Turn(t.Context(), want.ID)
			require.NoError(t, err)
			require.Equal(t, *want, got)
		}
		for _, id := range []string{"nobody's", "", "a\x00b", "\xff", strings.Repeat("x", 10_000), "'; drop table turns; --"} {
			_, err := r.Turn(t.Context(), id)
			require.ErrorIs(t, err, record.ErrNotFound)
			said, err := r.Content(t.Context(), id)
			require.NoError(t, err)
			require.Empty(t, said)
		}
	})
	t.Run("content", func(t *testing.T) {
		want := map[string][]record.Content{}
		for _, c := range said {
			want[c.ID] = append(want[c.ID], c)
		}
		for id, all := range want {
			got, err := r.Content(t.Context(), id)
			require.NoError(t, err)
			require.Equal(t, all, got)
		}
		got, err := r.Content(t.Context(), "nobody's")
		require.NoError(t, err)
		require.Empty(t, got)
	})
	t.Run("refused", func(t *testing.T) {
		for _, q := range []record.Query{{After: "?"}, {After: "Zm9v"}, {Limit: -1}, {Limit: 1001}, {Status: 6}, {Status: 600}, {Client: "a\x00"}, {Model: "\xff"}, {Session: strings.Repeat("x", 300)}} {
			_, err := r.Turns(t.Context(), q)
			require.ErrorIs(t, err, record.ErrBadQuery, "%+v", q)
		}
		for _, q := range []record.SpendQuery{{By: []string{"colour"}}, {By: []string{"key", "key"}}, {Every: "week"}, {From: Midnight.Add(time.Minute)}} {
			_, err := r.Spend(t.Context(), q)
			require.ErrorIs(t, err, record.ErrBadQuery, "%+v", q)
		}
	})
	testSpend(t, r, turns)
}

func testSpend(t *testing.T, r record.Reader, turns []*record.Turn) {
	times := map[string][2]time.Time{
		"always": {}, "a day": {Midnight, Midnight.Add(24 * time.Hour)}, "hours": {Midnight.Add(-2 * time.Hour), Midnight.Add(3 * time.Hour)},
		"from": {Midnight.Add(5 * time.Hour)}, "until": {1: Midnight.Add(-time.Hour)}, "more": {Midnight.AddDate(0, -1, 0), Midnight.AddDate(0, 1, 0)},
	}
	by := [][]string{nil, {"client"}, {"pool"}, {"key"}, {"model"}, {"session"}, {"pool", "model"}, {"session", "client"}, {"client", "pool", "key", "model", "session"}}
	for name, within := range times {
		for _, by := range by {
			for _, every := range []record.Span{"", record.Hour, record.Day, record.Month} {
				q := record.SpendQuery{From: within[0], Until: within[1], By: by, Every: every}
				t.Run(fmt.Sprintf("spend/%s/%s/%s", name, strings.Join(by, "+"), every), func(t *testing.T) {
					got, err := r.Spend(t.Context(), q)
					require.NoError(t, err)
					require.Equal(t, spent(turns, q), got)
				})
			}
		}
	}
}

// spent is the answer to q, told apart from the code that stores share.
func spent(turns []*record.Turn, q record.SpendQuery) []record.SpendRow {
	rows := map[string]*record.SpendRow{}
	counted := map[string][3]int64{} // complete, partial, unknown
	for _, t := range turns {
		if t.Start.Before(q.From) || !q.Until.IsZero() && !t.Start.Before(q.Until) {
			continue
		}
		values := map[string]string{"client": t.Client, "pool": t.Pool, "key": t.Key, "session": t.Session, "model": t.Answered}
		if t.Answered == "" {
			values["model"] = t.Asked
		}
		row := record.SpendRow{By: map[string]string{}}
		switch y, m, d := t.Start.Date(); q.Every {
		case record.Hour:
			row.At = time.Date(y, m, d, t.Start.Hour(), 0, 0, 0, time.UTC)
		case record.Day:
			row.At = time.Date(y, m, d, 0, 0, 0, 0, time.UTC)
		case record.Month:
			row.At = time.Date(y, m, 1, 0, 0, 0, 0, time.UTC)
		}
		id := row.At.String()
		for _, name := range q.By {
			row.By[name] = values[name]
		}
		id += fmt.Sprint(row.By)
		if rows[id] == nil {
			rows[id] = &row
		}
		sum, n := rows[id], counted[id]
		sum.Turns++
		if t.ErrorClass != "" {
			sum.Failed++
		}
		sum.Nano += t.Price.Nano
		sum.Unpriced += t.Price.Unpriced
		sum.Usage.Input += t.Usage.Input
		sum.Usage.CacheRead += t.Usage.CacheRead
		sum.Usage.CacheWrite += t.Usage.CacheWrite
		sum.Usage.Output += t.Usage.Output
		sum.Usage.Reasoning += t.Usage.Reasoning
		switch {
		case t.Usage.State == record.Complete || t.Ending == record.Refused:
			n[0]++
		case t.Usage.State == record.Partial:
			n[1]++
		default:
			n[2]++
		}
		counted[id] = n
	}
	all := []record.SpendRow{}
	for id, row := range rows {
		switch n := counted[id]; {
		case n[0]+n[1] == 0:
			row.Usage.State = record.Unknown
		case n[1]+n[2] > 0:
			row.Usage.State = record.Partial
		default:
			row.Usage.State = record.Complete
		}
		all = append(all, *row)
	}
	slices.SortFunc(all, func(a, b record.SpendRow) int {
		order := cmp.Or(a.At.Compare(b.At), cmp.Compare(b.Nano, a.Nano), cmp.Compare(b.Turns, a.Turns))
		for _, name := range q.By {
			order = cmp.Or(order, strings.Compare(a.By[name], b.By[name]))
		}
		return order
	})
	return all
}

// Said returns what some of turns said.
func Said(turns []*record.Turn) (said []record.Content) {
	for i, t := range turns {
		if i%40 != 0 {
			continue
		}
		for j, kind := range []record.ContentKind{record.Prompt, record.Thought, record.ToolCall, record.Answer} {
			c := record.Content{ID: t.ID, Kind: kind, Turn: j, Text: strings.Repeat("wörd ", j*i), At: t.Start.Add(time.Duration(j) * time.Second), Cut: j == 2}
			if kind == record.ToolCall {
				c.Call = "call_0"
			}
			c.Bound()
			said = append(said, c)
		}
	}
	return said
}
