package record

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/coder/quartz"
	"github.com/google/uuid"
)

// The most that waits for a store, what is being written with it.
const (
	QueueTurns = 8192
	QueueBytes = 16 << 20
)

// ahead is how far a turn's day may be ahead of the clock.
const ahead = 48 * time.Hour

// Queue stands before a Store: it never blocks and never grows. When it is full, what was said goes first, then whole turns; each loss is
// counted. It is safe for concurrent use.
type Queue struct {
	clock   quartz.Clock
	log     *slog.Logger
	writer  string
	keep    time.Duration
	turns   *lane[*Turn]
	content *lane[[]Content]
	closing chan struct{} // closed with closed
	stop    context.CancelFunc
	done    sync.WaitGroup

	mu     sync.Mutex // protects all below, and parts of the lanes
	closed bool
	bytes  int // of what waits and of what is being written
	lost   Losses
}

// NewQueue returns a Queue that writes into store until Close. Turns that began longer ago than keep are not written.
func NewQueue(store Store, keep time.Duration, clock quartz.Clock, log *slog.Logger) *Queue {
	ctx, stop := context.WithCancel(context.Background())
	q := &Queue{clock: clock, log: log, writer: uuid.NewString(), keep: keep, closing: make(chan struct{}), stop: stop}
	q.turns = newLane(q, "turn", &q.lost.Turns, store.PutTurns)
	q.content = newLane(q, "content", &q.lost.Content, func(ctx context.Context, lot Lot, said [][]Content) error {
		return store.PutContent(ctx, lot, flat(said))
	})
	q.done.Go(func() { q.turns.run(ctx) })
	q.done.Go(func() { q.content.run(ctx) })
	return q
}

func flat(all [][]Content) (one []Content) {
	for _, said := range all {
		one = append(one, said...)
	}
	return one
}

// Write has t and what it said written, both bounded.
func (q *Queue) Write(t *Turn, said []Content) {
	now, day := q.clock.Now(), DayOf(t.Start)
	turn := item[*Turn]{value: t, day: day, size: t.size(), since: now}
	rest := item[[]Content]{value: said, day: day, size: sizeOf(said), since: now}
	q.mu.Lock()
	defer q.mu.Unlock()
	cause := Full
	if q.closed {
		cause = Closing
	}
	for !q.closed && q.bytes+turn.size > QueueBytes && q.content.n > 0 {
		q.content.dropLocked(Full)
	}
	switch {
	case q.closed, !q.turns.roomLocked(), q.bytes+turn.size > QueueBytes:
		q.lost.Turns[cause]++
		if len(said) > 0 {
			q.lost.Content[cause]++
		}
		return
	}
	q.turns.pushLocked(turn)
	switch {
	case len(said) == 0:
	case !q.content.roomLocked(), q.bytes+rest.size > QueueBytes:
		q.lost.Content[Full]++
	default:
		q.content.pushLocked(rest)
	}
}

// outdated says whether turns of that day are not written now.
func (q *Queue) outdated(day, now time.Time) bool {
	return day.Add(24*time.Hour).Before(now.Add(-q.keep)) || day.After(now.Add(ahead))
}

// Losses returns what was lost until now.
func (q *Queue) Losses() Losses {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.lost
}

// Waiting returns how many turns, and how many bytes of turns and content, the store does not have yet.
func (q *Queue) Waiting() (turns, bytes int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.turns.n + q.turns.inFlight, q.bytes
}

// Close writes what waits, until ctx ends; what is left then is lost.
func (q *Queue) Close(ctx context.Context) {
	q.mu.Lock()
	if !q.closed {
		q.closed = true
		close(q.closing)
	}
	q.mu.Unlock()
	unhook := context.AfterFunc(ctx, q.stop)
	q.done.Wait()
	unhook()
	q.stop()
}
