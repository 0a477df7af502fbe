package main

import (
	"math"
	"runtime/debug"

	"github.com/KimMachineGun/automemlimit/memlimit"

	"github.com/keyturn/keyturn/internal/config"
)

// limitMemory tells the collector how much memory the container may have, so that it works harder before the kernel ends the process.
// GOMEMLIMIT overrides it. The tenth that is left is for what is not on the heap.
func limitMemory() {
	_, _ = memlimit.Set(memlimit.WithRatio(0.9), memlimit.WithProvider(memlimit.FromCgroup)) // without a limit there is nothing to set
}

// bodyMemory is what the bodies in work may take, in bytes; 0: anything, where nothing tells how much there is.
func bodyMemory(cfg *config.Config) int64 {
	if cfg.Limits.Memory > 0 {
		return cfg.Limits.Memory
	}
	if limit := debug.SetMemoryLimit(-1); limit < math.MaxInt64 { // which only asks
		return limit / 2
	}
	all, err := memlimit.FromSystem()
	if err != nil || all > math.MaxInt64 {
		return 0
	}
	return int64(all / 2)
}
