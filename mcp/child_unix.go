//go:build unix

package mcp

import (
	"os"
	"syscall"
)

// endChild asks the child's group to end.
func endChild(p *os.Process) { _ = syscall.Kill(-p.Pid, syscall.SIGTERM) }

// killChild kills the child's group.
func killChild(p *os.Process) { _ = syscall.Kill(-p.Pid, syscall.SIGKILL) }
