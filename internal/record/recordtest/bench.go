package recordtest

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/coder/quartz"
	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/record"
)

// Real returns the i-th of the turns of a busy day: mostly good, of 30 clients, with 1.1 attempts and half a call each. 20 sessions run at a time, of
// 50 turns each with one client, pool, key and model.
func Real(rnd *rand.Rand, i int, start time.Time) *record.Turn {
	session := i/1000*20 + i%20
	of := rand.New(rand.NewPCG(uint64(session), 3))
	t := &record.Turn{
		ID: fmt.Sprintf("%08x-%04x-4%03x-8%03x-%012x", rnd.Uint32(), i&0xffff, i>>16&0xfff, rnd.IntN(1<<12), rnd.Int64N(1<<48)), Start: start,
		End: start.Add(time.Duration(rnd.IntN(20e6)) * time.Microsecond), Client: fmt.Sprint("client-", of.IntN(30)),
		Session: fmt.Sprintf("%016x-session-%d", of.Uint64(), session), UserAgent: "claude-cli/2.1.3 (external, cli)", Pool: pick(of, "openai", "anthropic", "anthropic"),
		Provider: "anthropic", Dialect: "messages", Method: "POST", Path: "/v1/messages", Asked: pick(of, "claude-sonnet-5", "claude-opus-5", "gpt-5.5"),
		Stream: true, Status: 200, FirstByte: 700 * time.Millisecond, Overhead: 300 * time.Microsecond, BytesIn: 40_000, BytesOut: 8_000,
		TraceID: "0af7651916cd43dd8448eb211c80319c", SpanID: "b7ad6b7169203331", Key: pick(of, "main", "spare"), Turns: 1,
		Usage: record.Usage{Input: rnd.Int64N(1e5), CacheRead: rnd.Int64N(9e4), Output: rnd.Int64N(4e3), State: record.Complete},
		Price: record.Price{Nano: rnd.Int64N(1e9), Priced: true, Table: "2026-11-30"},
	}
	t.Answered = t.Asked
	attempt := record.Attempt{Number: 1, Turn: 1, Pool: t.Pool, Key: t.Key, Hint: "sk-…wxyz", Duration: time.Second, Status: 200, Outcome: "success", Model: t.Answered, Usage: t.Usage}
	t.Attempts = append(t.Attempts, attempt)
	if rnd.IntN(10) == 0 {
		t.Attempts = append(t.Attempts, attempt)
	}
	if rnd.IntN(2) == 0 {
		t.Calls = append(t.Calls, record.Call{ID: "toolu_01AbCdEf", Tool: "Bash", Turn: 1, Duration: time.Second, Outcome: "client"})
	}
	switch {
	case rnd.IntN(50) == 0:
		t.Status, t.ErrorClass, t.Key = 429, "rate_limited", ""
	case i%20_011 == 0:
		t.Pool, t.Client, t.Asked, t.Answered = "rare", "rare", "rare", "rare"
	}
	t.Bound()
	return t
}

// cpu is the processor time that this process has used.
func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkPut writes lots of 1,000 turns; the time is a turn's.
func BenchmarkPut(b *testing.B, s record.Store) {
	rnd := rand.New(rand.NewPCG(1, 2))
	turns := make([]*record.Turn, 20_000)
	for i := range turns {
		turns[i] = Real(rnd, i, Midnight.Add(time.Duration(i)*200*time.Microsecond))
	}
	var spent time.Duration
	n, lot := 0, record.Lot{Writer: "bench", Day: Midnight}
	for b.Loop() {
		if n%1000 == 0 {
			from := n % len(turns)
			began := cpu()
			lot.Number++
			require.NoError(b, s.PutTurns(b.Context(), lot, turns[from:from+1000]))
			spent += cpu() - began
		}
		n++
	}
	b.ReportMetric(float64(spent.Nanoseconds())/float64((n+999)/1000*1000), "cpu-ns/turn")
}

// BenchmarkSteady records 5,000 turns a second through the queue; an operation is a second (-benchtime 60x).
func BenchmarkSteady(b *testing.B, s record.Store) {
	const perTick = 50
	q := record.NewQueue(s, 30*24*time.Hour, quartz.NewReal(), slog.New(slog.DiscardHandler))
	rnd := rand.New(rand.NewPCG(1, 2))
	ready := make([]*record.Turn, 5000)
	for i := range ready {
		ready[i] = Real(rnd, i, time.Now())
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	began, most, n := cpu(), 0, 0
	var first, last, longest uint64
	var slowest time.Duration
	for b.Loop() {
		for range 5000 / perTick {
			<-tick.C
			for range perTick {
				t := *ready[n%len(ready)] // what a ledger would make
				t.Start = time.Now().UTC().Truncate(time.Microsecond)
				t.ID = fmt.Sprintf("%08x-%d", rnd.Uint32(), n)
				t.Session = fmt.Sprintf("%08x-session-%d", n%20, n/1000)
				before := time.Now()
				q.Write(&t, nil)
				slowest = max(slowest, time.Since(before))
				n++
			}
			waiting, _ := q.Waiting()
			most = max(most, waiting)
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		if first == 0 {
			first = m.HeapInuse
		}
		last, longest = m.HeapInuse, max(longest, m.HeapInuse)
	}
	spent := cpu() - began
	q.Close(context.Background())
	losses := q.Losses()
	b.ReportMetric(float64(losses.Turns.Sum()), "lost")
	b.ReportMetric(float64(most), "most-waiting")
	b.ReportMetric(float64(spent.Nanoseconds())/float64(n), "cpu-ns/turn")
	b.ReportMetric(float64(first)/1e6, "heap-MB-first")
	b.ReportMetric(float64(last)/1e6, "heap-MB-last")
	b.ReportMetric(float64(longest)/1e6, "heap-MB-most")
	b.ReportMetric(float64(slowest.Microseconds()), "slowest-write-µs")
}

// million is how many turns BenchmarkMillion asks about.
const million = 1_000_000

// BenchmarkMillion asks a store for pages and sums of 1,000,000 turns of a month. Ready is called when they are written.
func BenchmarkMillion(b *testing.B, s record.Store, ready func(now time.Time)) {
	rnd := rand.New(rand.NewPCG(1, 2))
	begin := Midnight.AddDate(0, 0, -29)
	const days = 30
	number := int64(0)
	for day := range days {
		at := begin.AddDate(0, 0, day)
		for i := 0; i < million/days; i += 1000 {
			turns := make([]*record.Turn, min(1000, million/days-i))
			for j := range turns {
				turns[j] = Real(rnd, day*million/days+i+j, at.Add(time.Duration(i+j)*24*time.Hour/(million/days)))
			}
			number++
			require.NoError(b, s.PutTurns(b.Context(), record.Lot{Writer: "bench", Number: number, Day: at}, turns))
		}
	}
	ready(Midnight.Add(20 * time.Hour))
	page, err := s.Turns(b.Context(), record.Query{})
	require.NoError(b, err)
	session := page.Turns[0].Session
	middle := record.Place{Start: begin.AddDate(0, 0, 15), ID: "7"}.Cursor()
	for name, q := range map[string]record.Query{
		"latest": {}, "middle": {After: middle}, "client": {Client: "client-7", After: middle}, "session": {Session: session}, "pool": {Pool: "openai"},
		"failed": {Failed: true}, "429": {Status: 429, After: middle}, "server's": {Status: 5}, "tools": {WithTools: true}, "key and model": {Key: "main", Model: "gpt-5.5"},
		"rare client": {Client: "rare"}, "rare pool": {Pool: "rare"}, "rare model": {Model: "rare"}, "nobody": {Client: "nobody"},
	} {
		b.Run("page/"+name, func(b *testing.B) {
			for b.Loop() {
				_, err := s.Turns(b.Context(), q)
				require.NoError(b, err)
			}
		})
	}
	for name, q := range map[string]record.SpendQuery{
		"client by day": {By: []string{record.ByClient}, Every: record.Day}, "all by model": {By: []string{record.ByModel}},
		"client, model, key by day": {By: []string{record.ByClient, record.ByModel, record.ByKey}, Every: record.Day},
		"by hour":                   {Every: record.Hour}, "by month": {Every: record.Month, By: []string{record.ByPool}}, "by session": {By: []string{record.BySession}},
	} {
		b.Run("spend/"+name, func(b *testing.B) {
			q.From, q.Until = begin, begin.AddDate(0, 1, 0)
			for b.Loop() {
				_, err := s.Spend(b.Context(), q)
				require.NoError(b, err)
			}
		})
	}
}
