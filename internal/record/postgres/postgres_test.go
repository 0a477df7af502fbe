package postgres

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/quartz"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/record"
	"github.com/keyturn/keyturn/internal/record/recordtest"
	server "github.com/keyturn/keyturn/test/postgres"
)

func TestMain(m *testing.M) { os.Exit(server.Main(m)) }

func options(url string) Options {
	return Options{URL: url, Retain: 30 * 24 * time.Hour, Content: 7 * 24 * time.Hour, Log: slog.New(slog.DiscardHandler)}
}

func opened(t testing.TB, url string) *Store {
	t.Helper()
	s, err := Open(t.Context(), options(url))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func TestAnswers(t *testing.T) {
	turns := recordtest.Turns(recordtest.Many(3000), 1)
	said := recordtest.Said(turns)
	s := opened(t, server.Database(t))
	recordtest.Put(t, s, "w", turns, said)
	recordtest.Put(t, s, "w", turns, said) // it has them
	recordtest.TestReader(t, s, turns, said)
}

// With one turn there is one group.
func TestOneTurn(t *testing.T) {
	s := opened(t, server.Database(t))
	turns := []*record.Turn{{ID: "1", Start: recordtest.Midnight, Pool: "dev", Key: "spare", Asked: "gpt-5", Answered: "gpt-5", Status: 200}}
	turns[0].Bound()
	recordtest.Put(t, s, "w", turns, nil)
	recordtest.TestReader(t, s, turns, nil)
}

// Two replicas start at once on an empty database, and write at once.
func TestTwoReplicas(t *testing.T) {
	url := server.Database(t)
	turns := recordtest.Turns(recordtest.Many(4000), 2)
	part := len(turns) / 4
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			s, err := Open(t.Context(), options(url))
			if err != nil {
				t.Error(err)
				return
			}
			defer s.Close()
			mine := turns[i*part : (i+1)*part]
			for j := range 10 {
				recordtest.Put(t, s, fmt.Sprint("replica", i, j), mine[j*part/10:(j+1)*part/10], nil)
				if err := s.Maintain(t.Context(), recordtest.Midnight); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	recordtest.TestReader(t, opened(t, url), turns, nil)
}

func TestPartitionsAreOfUTC(t *testing.T) {
	url := server.Database(t)
	s := opened(t, url)
	turns := []*record.Turn{
		{ID: "last", Start: recordtest.Midnight.Add(-time.Microsecond)}, {ID: "first", Start: recordtest.Midnight},
	}
	for _, turn := range turns {
		turn.Bound()
	}
	recordtest.Put(t, s, "w", turns, nil)
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	defer conn.Close(context.Background())
	for table, want := range map[string]string{"turns_20261129": "last", "turns_20261130": "first"} {
		var id string
		require.NoError(t, conn.QueryRow(t.Context(), "select id from keyturn."+table).Scan(&id))
		require.Equal(t, want, id)
	}
}

func TestRetention(t *testing.T) {
	url := server.Database(t)
	o := options(url)
	o.Retain, o.Content = 72*time.Hour, 24*time.Hour
	s, err := Open(t.Context(), o)
	require.NoError(t, err)
	defer s.Close()
	turns := recordtest.Turns(recordtest.Many(1000), 1)
	said := recordtest.Said(turns)
	recordtest.Put(t, s, "w", turns, said)
	require.NoError(t, s.PutStarts(t.Context(), []record.Start{{ID: "1", At: recordtest.Midnight}}))
	starts, err := s.Starts(t.Context(), recordtest.Midnight, recordtest.Midnight.Add(1), 10)
	require.NoError(t, err)
	require.Len(t, starts, 1)
	spent := func() []record.SpendRow {
		rows, err := s.Spend(t.Context(), record.SpendQuery{By: []string{"client", "model"}, Every: record.Hour})
		require.NoError(t, err)
		return rows
	}
	before := spent()
	oldest := func() (start time.Time) {
		page, err := s.Turns(t.Context(), record.Query{Limit: 1000})
		require.NoError(t, err)
		if len(page.Turns) > 0 {
			start = page.Turns[len(page.Turns)-1].Start
		}
		return start
	}
	require.True(t, oldest().Before(recordtest.Midnight))
	require.NoError(t, s.Maintain(t.Context(), recordtest.Midnight.Add(49*time.Hour)))
	got, err := s.Content(t.Context(), said[0].ID)
	require.NoError(t, err)
	require.Empty(t, got, "content goes first")
	require.True(t, oldest().Before(recordtest.Midnight))
	require.NoError(t, s.Maintain(t.Context(), recordtest.Midnight.Add(73*time.Hour)))
	require.False(t, oldest().Before(recordtest.Midnight))
	require.NoError(t, s.Maintain(t.Context(), recordtest.Midnight.Add(100*time.Hour)))
	require.Zero(t, oldest())
	require.Equal(t, before, spent(), "what was spent is still known")
	// A day that was dropped by another process while this one knew it is made again.
	recordtest.Put(t, s, "again", turns, nil)
	other := opened(t, url)
	other.o.Retain = time.Hour
	require.NoError(t, other.Maintain(t.Context(), recordtest.Midnight.Add(100*time.Hour)))
	lot := record.Lot{Writer: "x", Number: 1, Day: record.DayOf(turns[0].Start)}
	err = s.PutTurns(t.Context(), lot, turns[:1])
	require.Error(t, err)
	require.False(t, record.Poisoned(err))
	require.NoError(t, s.PutTurns(t.Context(), lot, turns[:1]))
	require.NoError(t, s.Maintain(t.Context(), recordtest.Midnight.Add(500*24*time.Hour)))
	require.Empty(t, spent())
}

func TestMigration(t *testing.T) {
	url := server.Database(t)
	turns := recordtest.Turns(recordtest.Many(500), 1)
	old := opened(t, url)
	recordtest.Put(t, old, "w", turns, nil)
	newer := append(migrations[:1:1], "alter table keyturn.turns add column colour text not null default 'blue'")
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			s, err := open(t.Context(), options(url), newer)
			if err != nil {
				t.Error(err)
				return
			}
			_ = s.Close()
		})
	}
	all.Wait()
	recordtest.TestReader(t, old, turns, nil) // the replica that is not replaced yet goes on
	recordtest.Put(t, old, "again", recordtest.Turns(10, 9), nil)
	_, err := Open(t.Context(), options(url))
	require.ErrorContains(t, err, "made by a newer Keyturn (version 2, and this one knows 1)")
}

func TestErrorsTellNoSecret(t *testing.T) {
	for _, url := range []string{"postgres://user:hunter22@h:port/db", "postgres://us er:hunter22@"} {
		_, err := Open(t.Context(), options(url))
		require.Error(t, err)
		require.NotContains(t, err.Error(), "hunter22")
	}
	log := &strings.Builder{}
	o := options("postgres://user:hunter22@127.0.0.1:1/db?connect_timeout=1")
	o.Log = slog.New(slog.NewTextHandler(log, nil))
	s, err := Open(t.Context(), o)
	require.NoError(t, err, "who has no database yet is not held up")
	defer s.Close()
	require.Contains(t, log.String(), "not ready")
	require.NotContains(t, log.String(), "hunter22")
	_, err = s.Turns(t.Context(), record.Query{})
	require.Error(t, err)
	require.NotContains(t, err.Error(), "hunter22")
}

// The database begins after Keyturn.
func TestBeginsLater(t *testing.T) {
	pg := server.Start(t)
	url := pg.Database(t)
	pg.Kill()
	s := opened(t, url)
	turns := recordtest.Turns(100, 1)
	lot := record.Lot{Writer: "w", Number: 1, Day: recordtest.Midnight}
	require.Error(t, s.PutTurns(t.Context(), lot, turns[:1]))
	pg.Restart(t)
	recordtest.Put(t, s, "w", turns, nil)
	recordtest.TestReader(t, s, turns, nil)
}

func TestPoison(t *testing.T) {
	s := opened(t, server.Database(t))
	turns := recordtest.Turns(10, 1)
	day := record.DayOf(turns[0].Start)
	for i := range turns {
		turns[i].Start = day
	}
	turns[5].Client = "not bounded: \x00"
	err := s.PutTurns(t.Context(), record.Lot{Writer: "w", Number: 1, Day: day}, turns)
	require.True(t, record.Poisoned(err), "%v", err)
	require.NotContains(t, err.Error(), turns[5].ID)
	require.NoError(t, s.PutTurns(t.Context(), record.Lot{Writer: "w", Number: 2, Day: day}, turns[:5]))
}

// The database is gone and comes back: all that was recorded meanwhile is there once, and nobody waited.
func TestAwayAndBack(t *testing.T) {
	pg := server.Start(t)
	s := opened(t, pg.Database(t))
	clock := quartz.NewMock(t).WithLogger(quartz.NoOpLogger)
	clock.Set(recordtest.Midnight.Add(30 * time.Hour))
	log := &strings.Builder{}
	q := record.NewQueue(s, 30*24*time.Hour, clock, slog.New(slog.NewTextHandler(log, nil)))
	turns := recordtest.Turns(3000, 1)
	const some = 1000 // what the queue writes without a clock
	retry := clock.Trap().NewTimer("record", "retry")
	for _, turn := range turns[:some] {
		q.Write(turn, nil)
	}
	require.Eventually(t, func() bool { n, _ := q.Waiting(); return n == 0 }, 30*time.Second, 5*time.Millisecond)
	pg.Kill()
	for _, turn := range turns[some:] {
		q.Write(turn, nil)
	}
	for waited := time.Duration(0); waited < 30*time.Second; {
		call := retry.MustWait(t.Context())
		call.MustRelease(t.Context())
		waited += call.Duration
		clock.Advance(call.Duration).MustWait(t.Context())
	}
	call := retry.MustWait(t.Context())
	n, _ := q.Waiting()
	require.Equal(t, len(turns)-some, n)
	pg.Restart(t)
	call.MustRelease(t.Context())
	retry.Close()
	clock.Advance(call.Duration).MustWait(t.Context())
	q.Close(t.Context())
	require.Equal(t, record.Losses{}, q.Losses())
	require.Contains(t, log.String(), "the store fails")
	require.Contains(t, log.String(), "the store is back")
	recordtest.TestReader(t, s, turns, nil)
}
