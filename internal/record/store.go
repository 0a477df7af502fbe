package record

import (
	"context"
	"errors"
	"time"
)

// Store keeps records for longer than the process lives. It is safe for concurrent use.
type Store interface {
	Reader
	// PutTurns writes all of turns or none. They are bounded, and all of lot.Day. What was written of a lot is not written again.
	PutTurns(ctx context.Context, lot Lot, turns []*Turn) error
	// PutContent does the same for what was said in turns of lot.Day.
	PutContent(ctx context.Context, lot Lot, said []Content) error
	// PutStarts writes that requests begin; when it returns nil they survive the machine.
	PutStarts(ctx context.Context, starts []Start) error
	// Starts returns those that began in that time, oldest first, and at most limit of them.
	Starts(ctx context.Context, from, until time.Time, limit int) ([]Start, error)
	// Maintain makes ready for what comes after now, and deletes what is no longer kept.
	Maintain(ctx context.Context, now time.Time) error
	Close() error
}

// Lot is what is written at once.
type Lot struct {
	Writer string    // unique to the process
	Number int64     // grows within the writer and the day
	Day    time.Time // the beginning of the UTC day in which its turns started
}

// Start is a request that is about to leave for its provider.
type Start struct {
	ID      string // of the Turn to come
	At      time.Time
	Client  string
	Session string
	Pool    string
	Method  string
	Path    string
}

// Bound does for s what Turn.Bound does for a turn.
func (s *Start) Bound() {
	s.At = instant(s.At)
	for _, p := range []*string{&s.ID, &s.Client, &s.Session, &s.Pool, &s.Path} {
		*p = clean(*p, MaxName)
	}
	s.Method = clean(s.Method, MaxClass)
}

// poison is the error of a store about what it was given, not about itself.
type poison struct{ cause error }

func (p *poison) Error() string { return p.cause.Error() }
func (p *poison) Unwrap() error { return p.cause }

// Poison marks err as the fault of what was to be written: it would fail again.
func Poison(err error) error { return &poison{err} }

// Poisoned says whether err, or what it wraps, is marked by Poison.
func Poisoned(err error) bool {
	var p *poison
	return errors.As(err, &p)
}
