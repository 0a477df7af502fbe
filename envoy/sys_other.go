//go:build !linux

package envoy

import (
	"os"
	"syscall"
)

// childAttr has nothing to set: only Linux can tie the life of a child to its parent's.
func childAttr() *syscall.SysProcAttr { return nil }

// tryLock always has the lock: without it two processes may both fetch Envoy, and the later rename wins.
func tryLock(*os.File) (bool, error) { return true, nil }

// maxSocketPath is the longest path of a Unix socket, in bytes: sun_path of the BSDs and macOS holds 104 with its
// final zero.
const maxSocketPath = 103
