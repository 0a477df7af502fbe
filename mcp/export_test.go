package mcp

import (
	"time"

	"github.com/coder/quartz"
)

// At returns the configuration with a clock that the test turns.
func At(clk quartz.Clock, cfg Config) Config {
	cfg.clock = turned{clk}
	return cfg
}

type turned struct{ clk quartz.Clock }

func (t turned) Now() time.Time { return t.clk.Now() }

func (t turned) NewTimer(d time.Duration, name string) timer {
	return turnedTimer{t.clk.NewTimer(d, name), name}
}

func (t turned) AfterFunc(d time.Duration, f func(), name string) timer {
	return turnedTimer{t.clk.AfterFunc(d, f, name), name}
}

type turnedTimer struct {
	timer *quartz.Timer
	name  string
}

func (t turnedTimer) C() <-chan time.Time   { return t.timer.C }
func (t turnedTimer) Stop()                 { t.timer.Stop(t.name) }
func (t turnedTimer) Reset(d time.Duration) { t.timer.Reset(d, t.name) }
