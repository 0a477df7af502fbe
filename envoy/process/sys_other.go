//go:build !linux

package process

import (
	"io/fs"
	"os"
	"syscall"
)

// childAttr has nothing to set: only Linux can tie the life of a child to its parent's.
func childAttr() *syscall.SysProcAttr { return nil }

const locksHold = false

func owner(fs.FileInfo) int { return -1 }

// tryLock always has the lock: without it two processes may both fetch Envoy, and the later rename wins.
func tryLock(*os.File) (bool, error) { return true, nil }
