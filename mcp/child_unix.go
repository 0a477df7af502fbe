//go:build unix

package mcp

import (
	"os"
	"syscall"
)

// childAttr puts a child into a process group of its own, so that it ends with what it started (npx starts node), and so that a Ctrl-C is for us:
// calls may still need it. When we die its stdin ends, which it takes for its own end.
func childAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// endChild asks the child's group to end.
func endChild(p *os.Process) { _ = syscall.Kill(-p.Pid, syscall.SIGTERM) }

// killChild kills the child's group.
func killChild(p *os.Process) { _ = syscall.Kill(-p.Pid, syscall.SIGKILL) }
