package mcp

import "time"

// clock tells the time that callers see. Each timer has a name, by which tests find it.
type clock interface {
	Now() time.Time
	NewTimer(d time.Duration, name string) timer
	AfterFunc(d time.Duration, f func(), name string) timer
}

// timer is what time.Timer is.
type timer interface {
	C() <-chan time.Time // nil of AfterFunc's
	Stop()
	Reset(d time.Duration)
}

// realClock is the machine's.
type realClock struct{}

func (realClock) Now() time.Time { return time.Now() }

func (realClock) NewTimer(d time.Duration, _ string) timer { return realTimer{time.NewTimer(d)} }

func (realClock) AfterFunc(d time.Duration, f func(), _ string) timer {
	return realTimer{time.AfterFunc(d, f)}
}

type realTimer struct{ *time.Timer }

func (t realTimer) C() <-chan time.Time   { return t.Timer.C }
func (t realTimer) Stop()                 { t.Timer.Stop() }
func (t realTimer) Reset(d time.Duration) { t.Timer.Reset(d) }
