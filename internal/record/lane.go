package record

import (
	"context"
	"log/slog"
	"time"
)

// How a lane writes to its store.
const (
	flushItems = 1000
	flushBytes = 4 << 20
	flushAfter = 200 * time.Millisecond

	backoffFirst = 100 * time.Millisecond
	backoffMost  = 10 * time.Second
	putTimeout   = 30 * time.Second // of one attempt
	sayAgain     = time.Minute      // how often the log says that a store still fails
)

// item is what waits in a lane.
type item[T any] struct {
	value T
	day   time.Time
	size  int
	since time.Time // when it came, by the clock
}

// lane hands what comes to the store, in order, with retries. One goroutine takes out of it. What the queue's lock protects is marked so.
type lane[T any] struct {
	q    *Queue
	what string
	put  func(context.Context, Lot, []T) error
	lost *Lost // protected by q.mu

	ring     []item[T] // protected by q.mu
	first, n int       // protected by q.mu
	bytes    int       // of what waits; protected by q.mu
	inFlight int       // items; protected by q.mu
	wake     chan struct{}

	writer string
	number int64 // of the last lot

	failing time.Time // since when; zero: it does not
	said    time.Time // when the log last told
}

func newLane[T any](q *Queue, what string, lost *Lost, put func(context.Context, Lot, []T) error) *lane[T] {
	return &lane[T]{q: q, what: what, put: put, lost: lost, wake: make(chan struct{}, 1), writer: q.writer + "/" + what}
}

// pushLocked takes in i. The caller has seen to it that there is room.
func (l *lane[T]) pushLocked(i item[T]) {
	if l.ring == nil {
		l.ring = make([]item[T], QueueTurns)
	}
	l.ring[(l.first+l.n)%len(l.ring)] = i
	l.n++
	l.bytes += i.size
	l.q.bytes += i.size
	if l.n == 1 || l.n == flushItems || l.bytes >= flushBytes {
		select {
		case l.wake <- struct{}{}:
		default:
		}
	}
}

// popLocked takes the oldest out; its bytes are still the queue's.
func (l *lane[T]) popLocked() item[T] {
	i := l.ring[l.first]
	l.ring[l.first] = item[T]{}
	l.first = (l.first + 1) % len(l.ring)
	l.n--
	l.bytes -= i.size
	return i
}

// dropLocked loses the oldest.
func (l *lane[T]) dropLocked(cause Loss) {
	l.q.bytes -= l.popLocked().size
	l.lost[cause]++
}

// roomLocked says whether the lane may have one more.
func (l *lane[T]) roomLocked() bool { return l.n+l.inFlight < QueueTurns }

// take waits until there is enough to write, or until what there is has waited for long enough; nil when the queue is closed and empty.
func (l *lane[T]) take() []item[T] {
	for {
		l.q.mu.Lock()
		closed := l.q.closed
		wait := flushAfter
		if l.n > 0 {
			wait = l.ring[l.first].since.Add(flushAfter).Sub(l.q.clock.Now())
		}
		if l.n >= flushItems || l.bytes >= flushBytes || l.n > 0 && (closed || wait <= 0) {
			batch := l.batchLocked()
			l.q.mu.Unlock()
			return batch
		}
		empty := l.n == 0
		l.q.mu.Unlock()
		switch {
		case closed:
			return nil
		case empty:
			select {
			case <-l.wake:
			case <-l.q.closing:
			}
		default:
			l.await(wait)
		}
	}
}

// await waits until more has come, or for that long.
func (l *lane[T]) await(wait time.Duration) {
	timer := l.q.clock.NewTimer(min(wait, flushAfter), "record", "flush") // a clock that went back must not hold it
	defer timer.Stop()
	select {
	case <-l.wake:
	case <-timer.C:
	case <-l.q.closing:
	}
}

func (l *lane[T]) batchLocked() []item[T] {
	batch, bytes := make([]item[T], 0, min(l.n, flushItems)), 0
	for l.n > 0 && len(batch) < flushItems && bytes < flushBytes {
		i := l.popLocked()
		bytes += i.size
		batch = append(batch, i)
	}
	l.inFlight = len(batch)
	return batch
}

// run writes until the queue is closed and empty, or ctx ends: then what is left is lost.
func (l *lane[T]) run(ctx context.Context) {
	for {
		batch := l.take()
		if batch == nil {
			return
		}
		now := l.q.clock.Now()
		days := map[time.Time][]T{}
		for _, i := range batch {
			if l.q.outdated(i.day, now) {
				l.lose(Outdated, 1)
				continue
			}
			days[i.day] = append(days[i.day], i.value)
		}
		for day, values := range days {
			l.write(ctx, day, values)
		}
		l.release(batch)
	}
}

// release gives a batch's room back.
func (l *lane[T]) release(batch []item[T]) {
	l.q.mu.Lock()
	defer l.q.mu.Unlock()
	for _, i := range batch {
		l.q.bytes -= i.size
	}
	l.inFlight = 0
}

func (l *lane[T]) lose(cause Loss, n int) {
	l.q.mu.Lock()
	defer l.q.mu.Unlock()
	l.lost[cause] += int64(n)
}

// write has the store take values: again and again while the store fails, and by halves where one of the values is at fault.
func (l *lane[T]) write(ctx context.Context, day time.Time, values []T) {
	l.number++
	lot := Lot{Writer: l.writer, Number: l.number, Day: day}
	for pause := backoffFirst; ; pause = min(2*pause, backoffMost) {
		err := l.attempt(ctx, lot, values)
		switch {
		case err == nil:
			l.recovered()
			return
		case Poisoned(err) && len(values) == 1:
			l.lose(Poisonous, 1)
			l.q.log.Error("a record that the store does not take is set aside", slog.String("what", l.what), slog.Any("error", err))
			return
		case Poisoned(err):
			half := len(values) / 2
			l.write(ctx, day, values[:half])
			l.write(ctx, day, values[half:])
			return
		}
		l.complain(err)
		if !l.q.pause(ctx, pause) {
			l.lose(Closing, len(values))
			return
		}
	}
}

// attempt writes once.
func (l *lane[T]) attempt(ctx context.Context, lot Lot, values []T) error {
	ctx, cancel := context.WithTimeout(ctx, putTimeout)
	defer cancel()
	return l.put(ctx, lot, values)
}

// complain logs that the store fails: at once, and then every minute.
func (l *lane[T]) complain(err error) {
	now := l.q.clock.Now()
	if l.failing.IsZero() {
		l.failing = now
	} else if now.Sub(l.said) < sayAgain {
		return
	}
	l.said = now
	l.q.mu.Lock()
	waiting, lost := l.n+l.inFlight, l.lost.Sum()
	l.q.mu.Unlock()
	l.q.log.Warn("the store fails; it is tried again", slog.String("what", l.what), slog.Any("error", err), slog.Int("waiting", waiting),
		slog.Int64("lost", lost), slog.Duration("since", now.Sub(l.failing)))
}

func (l *lane[T]) recovered() {
	if l.failing.IsZero() {
		return
	}
	l.q.log.Info("the store is back", slog.String("what", l.what), slog.Duration("after", l.q.clock.Now().Sub(l.failing)))
	l.failing = time.Time{}
}

// pause waits; false when ctx ended.
func (q *Queue) pause(ctx context.Context, d time.Duration) bool {
	timer := q.clock.NewTimer(d, "record", "retry")
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
