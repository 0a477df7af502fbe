//go:build !unix

package mcp

import (
	"os"
	"syscall"
)

// childAttr has nothing to set: there are no process groups.
func childAttr() *syscall.SysProcAttr { return nil }

// endChild does nothing: a process cannot be asked to end.
func endChild(*os.Process) {}

// killChild kills the child.
func killChild(p *os.Process) { _ = p.Kill() }

// killMarked does nothing: the environments of other processes cannot be read.
func killMarked(string) {}
