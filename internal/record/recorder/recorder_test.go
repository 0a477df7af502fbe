package recorder_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/coder/quartz"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/keyturn/keyturn/internal/record"
	"github.com/keyturn/keyturn/internal/record/recorder"
	"github.com/keyturn/keyturn/internal/record/recordtest"
	"github.com/keyturn/keyturn/test/postgres"
)

func TestMain(m *testing.M) { os.Exit(postgres.Main(m)) }

// stores are the settings of every store.
func stores(t *testing.T) map[string]record.Settings {
	return map[string]record.Settings{
		"memory": {}, "sqlite": {SQLite: t.TempDir(), Required: true}, "postgres": {Postgres: record.Postgres{URL: postgres.Database(t)}, Required: true},
	}
}

type list []*record.Turn

func (l *list) Write(t *record.Turn, _ []record.Content) { *l = append(*l, t) }

func TestRecorder(t *testing.T) {
	for name, settings := range stores(t) {
		t.Run(name, func(t *testing.T) {
			ignore := goleak.IgnoreCurrent()
			clock := quartz.NewMock(t).WithLogger(quartz.NoOpLogger)
			clock.Set(recordtest.Midnight.Add(25 * time.Hour))
			var events list
			o := recorder.Options{Settings: settings, Clock: clock, Events: &events}
			r, err := recorder.Open(t.Context(), o)
			require.NoError(t, err)
			turns := recordtest.Turns(500, 1)
			said := recordtest.Said(turns)
			of := map[string][]record.Content{}
			for _, c := range said {
				of[c.ID] = append(of[c.ID], c)
			}
			for _, turn := range turns {
				r.Write(turn, of[turn.ID])
			}
			// They are not in the store yet, and one who asks for them gets them.
			page, err := r.Turns(t.Context(), record.Query{Limit: 100})
			require.NoError(t, err)
			require.Len(t, page.Turns, 100)
			got, err := r.Turn(t.Context(), said[0].ID)
			require.NoError(t, err)
			require.Equal(t, said[0].ID, got.ID)
			content, err := r.Content(t.Context(), said[0].ID)
			require.NoError(t, err)
			require.Equal(t, of[said[0].ID], content)
			require.Len(t, events, len(turns))

			require.Equal(t, name != "memory", r.Required())
			require.NoError(t, r.Commit(t.Context(), record.Start{ID: "1", At: recordtest.Midnight}))
			if name != "memory" {
				starts, err := r.Starts(t.Context(), recordtest.Midnight, recordtest.Midnight.Add(time.Second), 10)
				require.NoError(t, err)
				require.Len(t, starts, 1)
				require.NoError(t, r.Close(t.Context()))
				r, err = recorder.Open(t.Context(), o)
				require.NoError(t, err)
			}
			recordtest.TestReader(t, r, turns, said)
			require.Equal(t, record.Losses{}, r.Losses())
			require.NoError(t, r.Close(t.Context()))
			goleak.VerifyNone(t, ignore)
		})
	}
}

// Turns that are on their way into the store are in the list, in their place, and none is there twice.
func TestListWhileWriting(t *testing.T) {
	settings := record.Settings{SQLite: t.TempDir()}
	clock := quartz.NewMock(t).WithLogger(quartz.NoOpLogger)
	clock.Set(recordtest.Midnight.Add(25 * time.Hour))
	r, err := recorder.Open(t.Context(), recorder.Options{Settings: settings, Clock: clock})
	require.NoError(t, err)
	defer r.Close(t.Context())
	turns := recordtest.Turns(1500, 7)
	for _, turn := range turns { // 1,000 go into the store; the others wait for a clock that stands still
		r.Write(turn, nil)
	}
	require.Eventually(t, func() bool { n, _ := r.Waiting(); return n == 500 }, 30*time.Second, time.Millisecond)
	for _, limit := range []int{1, 50, 1000} {
		page, err := r.Turns(t.Context(), record.Query{Limit: limit})
		require.NoError(t, err)
		want, err := memory(turns).Turns(t.Context(), record.Query{Limit: limit})
		require.NoError(t, err)
		require.Equal(t, want, page)
	}
}

func memory(turns []*record.Turn) *record.Memory {
	m := record.NewMemory()
	for _, turn := range turns {
		m.Write(turn, nil)
	}
	return m
}

func TestPricesChangeFromNowOn(t *testing.T) {
	r, err := recorder.Open(t.Context(), recorder.Options{})
	require.NoError(t, err)
	defer r.Close(t.Context())
	write := func(id string) {
		r.Write(&record.Turn{ID: id, Asked: "m", Start: recordtest.Midnight, Usage: record.Usage{Input: 1_000_000, State: record.Complete}}, nil)
	}
	write("before")
	r.SetPrices([]record.PriceRule{{Model: "m", Input: 2_000_000}})
	write("after")
	before, err := r.Turn(t.Context(), "before")
	require.NoError(t, err)
	require.Equal(t, record.Price{Unpriced: 1_000_000}, before.Price)
	after, err := r.Turn(t.Context(), "after")
	require.NoError(t, err)
	require.Equal(t, record.Price{Nano: 2_000_000_000, Priced: true, Table: "own"}, after.Price)
}

func TestWhatIsWrittenIsBounded(t *testing.T) {
	r, err := recorder.Open(t.Context(), recorder.Options{})
	require.NoError(t, err)
	defer r.Close(t.Context())
	said := make([]record.Content, 1000)
	for i := range said {
		said[i].Text = strings.Repeat("x", 100_000)
	}
	r.Write(&record.Turn{ID: "a", Path: strings.Repeat("/", 10_000)}, said)
	got, err := r.Turn(t.Context(), "a")
	require.NoError(t, err)
	require.Len(t, got.Path, record.MaxName)
	content, err := r.Content(t.Context(), "a")
	require.NoError(t, err)
	require.Len(t, content, record.MaxSaid)
	require.Len(t, content[0].Text, record.MaxText)
	require.True(t, content[0].Cut)
}

func TestOpenRefuses(t *testing.T) {
	_, err := recorder.Open(t.Context(), recorder.Options{Settings: record.Settings{Required: true}})
	require.ErrorContains(t, err, "required")
	_, err = recorder.Open(t.Context(), recorder.Options{Settings: record.Settings{SQLite: "/dev/null/x"}})
	require.ErrorContains(t, err, "cannot be made")
}

func ExampleRecorder() {
	r, err := recorder.Open(context.Background(), recorder.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		panic(err)
	}
	defer func() { _ = r.Close(context.Background()) }()
	r.Write(&record.Turn{
		ID: "1", Start: time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC), Client: "ann", Answered: "gpt-5-mini",
		Usage: record.Usage{Input: 1000, Output: 200, State: record.Complete},
	}, nil)
	rows, err := r.Spend(context.Background(), record.SpendQuery{By: []string{"client"}, Every: record.Day})
	if err != nil {
		panic(err)
	}
	for _, row := range rows {
		fmt.Printf("%s %s $%.6f\n", row.At.Format(time.DateOnly), row.By["client"], float64(row.Nano)/1e9)
	}
	// Output: 2026-11-30 ann $0.000650
}
