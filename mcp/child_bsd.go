//go:build unix && !linux

package mcp

import "syscall"

// childAttr puts a child into a process group of its own; see child_linux.go. When we die its stdin ends, which it takes for its own end.
func childAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// killMarked does nothing: other processes' environments cannot be read everywhere.
func killMarked(string) {}
