// Package recorder joins what a process records with: the memory, a store behind its queue where the settings name one, prices, and log events.
package recorder

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/quartz"

	"github.com/keyturn/keyturn/internal/record"
	"github.com/keyturn/keyturn/internal/record/postgres"
	"github.com/keyturn/keyturn/internal/record/sqlite"
)

const (
	maintainEvery   = time.Minute
	maintainTimeout = 5 * time.Minute
	sayAgain        = 10 // how many failures of maintenance there are to a line of the log
)

// Options are what a Recorder needs.
type Options struct {
	Settings record.Settings
	Clock    quartz.Clock  // nil: the machine's
	Log      *slog.Logger  // nil: none
	Events   record.Writer // is told of every turn too; nil: none
}

// Recorder records. It is a record.Writer and a record.Reader, safe for concurrent use.
type Recorder struct {
	memory *record.Memory
	store  record.Store // nil: none
	queue  *record.Queue
	gate   *record.Gate // nil where starts are not required
	events record.Writer
	clock  quartz.Clock
	log    *slog.Logger
	prices atomic.Pointer[record.Prices]

	stop context.CancelFunc
	done sync.WaitGroup
}

// Open opens the store that the settings name.
func Open(ctx context.Context, o Options) (*Recorder, error) {
	settings, err := o.Settings.Complete()
	if err != nil {
		return nil, err
	}
	r := &Recorder{memory: record.NewMemory(), events: o.Events, clock: o.Clock, log: o.Log, stop: func() {}}
	if r.clock == nil {
		r.clock = quartz.NewReal()
	}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	r.SetPrices(settings.Prices)
	switch {
	case settings.SQLite != "":
		r.store, err = sqlite.Open(sqlite.Options{
			Dir: settings.SQLite, Retain: settings.Retain, Content: settings.Content.Retain, Log: r.log, Now: func() time.Time { return r.clock.Now() },
		})
	case settings.Postgres.URL != "":
		r.store, err = postgres.Open(ctx, postgres.Options{
			URL: settings.Postgres.URL, Retain: settings.Retain.For, Content: settings.Content.Retain.For, Log: r.log,
		})
	default:
		return r, nil
	}
	if err != nil {
		return nil, err
	}
	r.queue = record.NewQueue(r.store, settings.Retain.For, r.clock, r.log)
	if settings.Required {
		r.gate = record.NewGate(r.store.PutStarts)
	}
	background, stop := context.WithCancel(context.Background())
	r.stop = stop
	r.done.Go(func() { r.maintain(background) })
	return r, nil
}

// maintain has the store look after itself, at once and then every minute.
func (r *Recorder) maintain(ctx context.Context) {
	ticker := r.clock.NewTicker(maintainEvery, "record", "maintain")
	defer ticker.Stop()
	for failures := 0; ; {
		within, cancel := context.WithTimeout(ctx, maintainTimeout)
		err := r.store.Maintain(within, r.clock.Now())
		cancel()
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			failures = 0
		default:
			if failures%sayAgain == 0 {
				r.log.Warn("the store of records cannot be looked after; it is tried again", slog.Any("error", err))
			}
			failures++
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// SetPrices changes the prices of what is recorded from now on.
func (r *Recorder) SetPrices(own []record.PriceRule) { r.prices.Store(record.NewPrices(own)) }

// Price gives t its price.
func (r *Recorder) Price(t *record.Turn) { t.Price = r.prices.Load().Of(t) }

// Write records t, with its price where it has none yet, and what it said.
func (r *Recorder) Write(t *record.Turn, said []record.Content) {
	t.Bound()
	if t.Price == (record.Price{}) {
		r.Price(t)
	}
	if over := len(said) - record.MaxSaid; over > 0 {
		said = said[:record.MaxSaid]
		t.Cut += over
	}
	for i := range said {
		said[i].ID = t.ID
		said[i].Bound()
	}
	r.memory.Write(t, said)
	if r.queue != nil {
		r.queue.Write(t, said)
	}
	if r.events != nil {
		r.events.Write(t, said)
	}
}

// Required says whether the start of a request must be committed before it leaves.
func (r *Recorder) Required() bool { return r.gate != nil }

// Commit returns when s is committed, and nil at once where that is not required.
func (r *Recorder) Commit(ctx context.Context, s record.Start) error {
	if r.gate == nil {
		return nil
	}
	return r.gate.Commit(ctx, s)
}

// Follow tells of turns as they are recorded by this process.
func (r *Recorder) Follow(q record.Query) *record.Following { return r.memory.Follow(q) }

// Stored says whether there is a store beside the memory.
func (r *Recorder) Stored() bool { return r.store != nil }

// Losses count what did not get into the store; nothing is lost where there is none.
func (r *Recorder) Losses() record.Losses {
	if r.queue == nil {
		return record.Losses{}
	}
	return r.queue.Losses()
}

// Waiting returns how many turns, and how many bytes, the store does not have yet.
func (r *Recorder) Waiting() (turns, bytes int) {
	if r.queue == nil {
		return 0, 0
	}
	return r.queue.Waiting()
}

// reader is who answers questions: the store, which has more, or the memory.
func (r *Recorder) reader() record.Reader {
	if r.store == nil {
		return r.memory
	}
	return r.store
}

// Turns returns a page of those that q selects. The first page of all has what the store does not have yet, too.
func (r *Recorder) Turns(ctx context.Context, q record.Query) (record.Page, error) {
	page, err := r.reader().Turns(ctx, q)
	if r.store == nil || err != nil || q.After != "" {
		return page, err
	}
	if waiting, _ := r.Waiting(); waiting == 0 {
		return page, nil
	}
	q, _, err = q.Complete()
	if err != nil {
		return record.Page{}, err
	}
	fresh, err := r.memory.Turns(ctx, q)
	if err != nil {
		return record.Page{}, err
	}
	return merged(page, fresh, q.Limit), nil
}

// merged is the newest limit turns of both pages. Only what is newer than the end of a full page of the store's may be missing there.
func merged(stored, fresh record.Page, limit int) record.Page {
	known := map[record.Place]bool{}
	var all []*record.Turn
	for i := range stored.Turns {
		t := &stored.Turns[i]
		known[t.Place()] = true
		all = append(all, t)
	}
	for i := range fresh.Turns {
		t := &fresh.Turns[i]
		last := len(stored.Turns) - 1
		if known[t.Place()] || stored.Next != "" && t.Place().Compare(stored.Turns[last].Place()) < 0 {
			continue
		}
		all = append(all, t)
	}
	page := record.NewPage(all, limit)
	if page.Next == "" && stored.Next != "" {
		page.Next = page.Turns[len(page.Turns)-1].Place().Cursor()
	}
	return page
}

// Turn returns one.
func (r *Recorder) Turn(ctx context.Context, id string) (record.Turn, error) {
	t, err := r.reader().Turn(ctx, id)
	if errors.Is(err, record.ErrNotFound) {
		return r.memory.Turn(ctx, id) // the store does not have it yet
	}
	return t, err
}

// Content returns what was said in a turn, in order.
func (r *Recorder) Content(ctx context.Context, id string) ([]record.Content, error) {
	said, err := r.reader().Content(ctx, id)
	if err != nil || len(said) > 0 {
		return said, err
	}
	said, err = r.memory.Content(ctx, id)
	return slices.Clone(said), err
}

// Spend sums up what the store has, or the memory where there is none.
func (r *Recorder) Spend(ctx context.Context, q record.SpendQuery) ([]record.SpendRow, error) {
	return r.reader().Spend(ctx, q)
}

// Starts returns the starts of requests that were committed within a time, oldest first.
func (r *Recorder) Starts(ctx context.Context, from, until time.Time, limit int) ([]record.Start, error) {
	if r.store == nil {
		return nil, nil
	}
	return r.store.Starts(ctx, from, until, limit)
}

// Close writes what waits, until ctx ends, and closes the store.
func (r *Recorder) Close(ctx context.Context) error {
	if r.gate != nil {
		r.gate.Close()
	}
	if r.queue != nil {
		r.queue.Close(ctx)
	}
	r.stop()
	r.done.Wait()
	if r.store == nil {
		return nil
	}
	return r.store.Close()
}
