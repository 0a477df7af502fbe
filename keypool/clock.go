package keypool

import "time"

// Clock tells the time. Tags name a call, for clocks that tests stop: the Clock of github.com/coder/quartz is one.
type Clock interface {
	Now(tags ...string) time.Time
	Since(t time.Time, tags ...string) time.Duration
}

// realClock is the machine's.
type realClock struct{}

func (realClock) Now(...string) time.Time                      { return time.Now() }
func (realClock) Since(t time.Time, _ ...string) time.Duration { return time.Since(t) }
