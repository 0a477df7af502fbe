package record_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/quartz"
	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/record"
	"github.com/keyturn/keyturn/internal/record/recordtest"
)

// fakeStore takes what it is given, unless fail says otherwise.
type fakeStore struct {
	record.Store
	fail func(lot record.Lot, turns []*record.Turn) error

	mu      sync.Mutex
	lots    []record.Lot
	sizes   []int
	at      []time.Time
	turns   []*record.Turn
	content []record.Content
}

func (s *fakeStore) PutTurns(_ context.Context, lot record.Lot, turns []*record.Turn) error {
	s.mu.Lock()
	s.lots, s.sizes, s.at = append(s.lots, lot), append(s.sizes, len(turns)), append(s.at, time.Now())
	s.mu.Unlock()
	if s.fail != nil {
		if err := s.fail(lot, turns); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.turns = append(s.turns, turns...)
	return nil
}

// told are the lots so far: the store may be told of others.
func (s *fakeStore) told() []record.Lot {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.lots)
}

func (s *fakeStore) PutContent(_ context.Context, lot record.Lot, said []record.Content) error {
	if s.fail != nil {
		if err := s.fail(lot, nil); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.content = append(s.content, said...)
	return nil
}

// queue returns a queue and what it logs. It runs in a bubble of synctest, whose clock stands still while something works.
func queue(t *testing.T, s record.Store) (*record.Queue, *strings.Builder) {
	t.Helper()
	log := &strings.Builder{}
	q := record.NewQueue(s, 30*24*time.Hour, quartz.NewReal(), slog.New(slog.NewTextHandler(log, nil)))
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		q.Close(ctx)
	})
	return q, log
}

// pass lets time pass, and what is due then happen.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func now(n int) []*record.Turn {
	turns := make([]*record.Turn, n)
	for i := range turns {
		turns[i] = &record.Turn{ID: fmt.Sprint(i), Start: time.Now()}
		turns[i].Bound()
	}
	return turns
}

func TestQueueFlushes(t *testing.T) {
	for name, c := range map[string]struct {
		turns int
		more  func(*record.Turn)
		sizes []int
		after time.Duration
	}{
		"few after 200 ms":       {turns: 3, sizes: []int{3}, after: 200 * time.Millisecond},
		"1,000 at once":          {turns: 1000, sizes: []int{1000}},
		"2,500 in three":         {turns: 2500, sizes: []int{1000, 1000, 500}, after: 200 * time.Millisecond},
		"4 MiB before 1,000 are": {turns: 600, more: func(t *record.Turn) { t.Attempts = make([]record.Attempt, 40) }, after: 200 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &fakeStore{}
				q, _ := queue(t, s)
				began := time.Now()
				for _, turn := range now(c.turns) {
					if c.more != nil {
						c.more(turn)
					}
					q.Write(turn, nil)
				}
				synctest.Wait()
				if c.after > 0 {
					pass(c.after)
				}
				require.Len(t, s.turns, c.turns)
				require.Equal(t, c.after, s.at[len(s.at)-1].Sub(began))
				if c.sizes != nil {
					require.Equal(t, c.sizes, s.sizes)
				} else {
					require.Len(t, s.sizes, 2)
					require.Less(t, s.sizes[0], 600)
				}
				waiting, bytes := q.Waiting()
				require.Zero(t, waiting+bytes)
				require.Equal(t, record.Losses{}, q.Losses())
			})
		})
	}
}

// A store that answers nothing holds up nobody, and what waits for it does not grow.
func TestQueueIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		s := &fakeStore{fail: func(record.Lot, []*record.Turn) error { <-release; return nil }}
		q, _ := queue(t, s)
		began := time.Now()
		text := strings.Repeat("x", 10<<10)
		for i, turn := range now(30_000) {
			turn.Attempts = make([]record.Attempt, 1)
			q.Write(turn, []record.Content{{ID: turn.ID, Text: text}})
			if i%500 == 0 {
				turns, bytes := q.Waiting()
				require.LessOrEqual(t, turns, record.QueueTurns)
				require.LessOrEqual(t, bytes, record.QueueBytes)
			}
		}
		require.Zero(t, time.Since(began), "nobody waited")
		lost := q.Losses()
		require.Equal(t, int64(30_000-record.QueueTurns), lost.Turns[record.Full])
		require.Greater(t, lost.Content[record.Full], int64(28_000), "content went first")
		close(release)
		pass(time.Second)
		require.Len(t, s.turns, record.QueueTurns, "all that was not counted as lost is there")
		require.Equal(t, int64(30_000), lost.Content[record.Full]+int64(len(s.content)))
	})
}

func TestQueueRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var down atomic.Bool
		down.Store(true)
		s := &fakeStore{fail: func(record.Lot, []*record.Turn) error {
			if down.Load() {
				return errors.New("connection refused")
			}
			return nil
		}}
		q, log := queue(t, s)
		for _, turn := range now(10) {
			q.Write(turn, []record.Content{{ID: turn.ID, Text: "SECRET"}})
		}
		pass(3 * time.Minute)
		turns, _ := q.Waiting()
		require.Equal(t, 10, turns)
		lots := s.told()
		require.Less(t, len(lots), 30, "it waits longer each time")
		for _, lot := range lots {
			require.Equal(t, lots[0], lot, "it is the same lot, so that a store that has it already knows it")
		}
		down.Store(false)
		pass(20 * time.Second)
		require.Len(t, s.turns, 10)
		require.Len(t, s.content, 10)
		require.Equal(t, record.Losses{}, q.Losses())
		require.Contains(t, log.String(), "the store is back")
		require.Less(t, strings.Count(log.String(), "the store fails"), 10, "once a minute, for turns and content")
		require.NotContains(t, log.String(), "SECRET")
	})
}

func TestQueueSetsPoisonAside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bad := map[string]bool{"7": true, "500": true, "501": true, "999": true}
		s := &fakeStore{fail: func(_ record.Lot, turns []*record.Turn) error {
			for _, turn := range turns {
				if bad[turn.ID] {
					return fmt.Errorf("row: %w", record.Poison(errors.New("no such text")))
				}
			}
			return nil
		}}
		q, _ := queue(t, s)
		for _, turn := range now(1000) {
			q.Write(turn, nil)
		}
		synctest.Wait()
		require.Equal(t, int64(4), q.Losses().Turns[record.Poisonous])
		seen := map[string]int{}
		for _, turn := range s.turns {
			seen[turn.ID]++
		}
		require.Len(t, seen, 996)
		require.Len(t, s.turns, 996, "none twice")
		require.Less(t, len(s.lots), 100)
		numbers := map[int64]bool{}
		for _, lot := range s.lots {
			require.False(t, numbers[lot.Number], "each half is a lot of its own")
			numbers[lot.Number] = true
		}
	})
}

func TestQueueWritesNothingOutOfTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeStore{}
		q, _ := queue(t, s)
		for _, off := range []time.Duration{-40 * 24 * time.Hour, 4 * 24 * time.Hour, -20 * 24 * time.Hour, 0, -24 * time.Hour} {
			q.Write(&record.Turn{Start: time.Now().UTC().Add(off)}, nil)
		}
		q.Write(&record.Turn{}, nil)
		pass(time.Second)
		require.Len(t, s.turns, 3)
		require.Equal(t, int64(3), q.Losses().Turns[record.Outdated])
		for _, lot := range s.lots {
			require.Equal(t, record.DayOf(lot.Day), lot.Day)
		}
		require.Len(t, s.lots, 3, "a lot is of one day")
	})
}

func TestQueueCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeStore{}
		q, _ := queue(t, s)
		for _, turn := range now(2300) {
			q.Write(turn, []record.Content{{ID: turn.ID}})
		}
		q.Close(t.Context())
		require.Len(t, s.turns, 2300)
		require.Len(t, s.content, 2300)
		q.Write(now(1)[0], []record.Content{{}})
		require.Equal(t, int64(1), q.Losses().Turns[record.Closing])
		require.Equal(t, int64(1), q.Losses().Content[record.Closing])
	})
	synctest.Test(t, func(t *testing.T) { // a store that is away holds nobody up for longer than the context says
		s := &fakeStore{fail: func(record.Lot, []*record.Turn) error { return errors.New("away") }}
		q, _ := queue(t, s)
		for _, turn := range now(2300) {
			q.Write(turn, nil)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		q.Close(ctx)
		require.Equal(t, int64(2300), q.Losses().Turns[record.Closing])
	})
}

func TestGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lots []int
		fail := error(nil)
		g := record.NewGate(func(_ context.Context, starts []record.Start) error {
			time.Sleep(10 * time.Millisecond)
			lots = append(lots, len(starts))
			return fail
		})
		began := time.Now()
		var all sync.WaitGroup
		for range 500 {
			all.Go(func() { require.NoError(t, g.Commit(t.Context(), record.Start{ID: "a"})) })
		}
		all.Wait()
		require.LessOrEqual(t, len(lots), 2, "one wait for all in flight")
		require.LessOrEqual(t, time.Since(began), 20*time.Millisecond)
		fail = errors.New("disk full")
		require.ErrorIs(t, g.Commit(t.Context(), record.Start{}), fail)
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		require.ErrorIs(t, g.Commit(ctx, record.Start{}), context.DeadlineExceeded)
		g.Close()
		require.ErrorIs(t, g.Commit(t.Context(), record.Start{}), record.ErrGate)
	})
}

func TestGateIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		g := record.NewGate(func(context.Context, []record.Start) error { <-release; return nil })
		var all sync.WaitGroup
		var mu sync.Mutex
		refused := 0
		for range 20_000 {
			all.Go(func() {
				if errors.Is(g.Commit(t.Context(), record.Start{}), record.ErrGate) {
					mu.Lock()
					defer mu.Unlock()
					refused++
				}
			})
		}
		synctest.Wait()
		require.GreaterOrEqual(t, refused, 20_000-8192-1000)
		close(release)
		all.Wait()
		g.Close()
	})
}

// Nothing of the way of a request is allocated, and little is done.
func BenchmarkMemoryAndQueue(b *testing.B) {
	s := &fakeStore{}
	q := record.NewQueue(discard{s}, 30*24*time.Hour, quartz.NewReal(), slog.New(slog.DiscardHandler))
	m := record.NewMemory()
	turns := recordtest.Turns(1000, 1)
	for _, t := range turns {
		t.Start = time.Now()
		t.Bound()
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		t := turns[i%len(turns)]
		m.Write(t, nil)
		q.Write(t, nil)
	}
	q.Close(b.Context())
}

type discard struct{ record.Store }

func (discard) PutTurns(context.Context, record.Lot, []*record.Turn) error { return nil }
