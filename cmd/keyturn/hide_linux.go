package main

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// hide keeps this process's memory and environment, which hold keys, from other processes of the same user: the commands that are MCP servers are
// such. It leaves no core dump either. A process with CAP_SYS_PTRACE is not kept out.
// https://man7.org/linux/man-pages/man2/PR_SET_DUMPABLE.2const.html
func hide() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("keep other processes from reading the keys: %w", err)
	}
	return nil
}
