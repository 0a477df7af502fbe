package gateway

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// clockTick is the unit of CPU time in /proc: 1/100 s on every Linux that Go runs on (getconf CLK_TCK).
const clockTick = 10 * time.Millisecond

// EnvoyCPU is the CPU time that Envoy has used.
func (gw *Gateway) EnvoyCPU(t testing.TB) time.Duration { t.Helper(); return CPU(t, gw.envoy.PID()) }

// EnvoyPID is the process id of Envoy.
func (gw *Gateway) EnvoyPID() int { return gw.envoy.PID() }

// ProcessorPID is the process id of the running keyturn.
func (gw *Gateway) ProcessorPID() int {
	gw.mu.Lock()
	defer gw.mu.Unlock()
	return gw.processor.cmd.Process.Pid
}

// CPU is the CPU time, user and system, that a process has used: fields 14 and 15 of /proc/PID/stat, proc(5).
func CPU(t testing.TB, pid int) time.Duration {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	require.NoError(t, err)
	_, rest, ok := strings.Cut(string(b), ") ") // the name, field 2, may hold spaces
	require.True(t, ok)
	fields := strings.Fields(rest)
	user, err := strconv.ParseInt(fields[11], 10, 64)
	require.NoError(t, err)
	system, err := strconv.ParseInt(fields[12], 10, 64)
	require.NoError(t, err)
	return time.Duration(user+system) * clockTick
}

// PeakMemory is the largest number of bytes that a process has had in memory so far: VmHWM in /proc/PID/status, proc(5).
func PeakMemory(t testing.TB, pid int) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	require.NoError(t, err)
	_, rest, ok := strings.Cut(string(b), "\nVmHWM:")
	require.True(t, ok)
	kib, err := strconv.Atoi(strings.Fields(rest)[0])
	require.NoError(t, err)
	return kib << 10
}
