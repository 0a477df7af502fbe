package main

import (
	"math"
	"runtime/debug"

	"github.com/KimMachineGun/automemlimit/memlimit"

	"github.com/keyturn/keyturn/envoy"
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

// boundHeap has the collector keep the heap within what limits.memory implies, where neither GOMEMLIMIT nor a container says how much there is:
// at GOGC's 400 it would let garbage of bodies grow to several times what is in use.
func boundHeap(cfg *config.Config) {
	if cfg.Limits.Memory > 0 && debug.SetMemoryLimit(-1) == math.MaxInt64 {
		debug.SetMemoryLimit(2*cfg.Limits.Memory + besideBodies)
	}
}

// besideBodies is for all that limits.memory does not count, in bytes: records, tools, memories of conversations, and gRPC's buffers.
const besideBodies = 128 << 20

// runEnvoy is what Envoy is run with: with a bound of its memory, so that clients that send much at once take Envoy down for nobody.
func runEnvoy(cfg *config.Config, version string) (own envoy.Config, show string) {
	own, show = cfg.RunEnvoy(version)
	if own.Memory == 0 {
		own.Memory = halfOfAll()
	}
	return own, show
}

// halfOfAll is half of the memory that the container or else the machine has, in bytes; 0: nobody knows.
func halfOfAll() int64 {
	all, err := memlimit.FromCgroup()
	if err != nil || all == 0 || all > envoy.MaxMemory {
		all, err = memlimit.FromSystem()
	}
	if err != nil || all > envoy.MaxMemory || all/2 < envoy.MinMemory {
		return 0
	}
	return int64(all / 2)
}
