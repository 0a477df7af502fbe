package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// hideEnv makes TestParentOfCurious the program that TestHide runs; it says whether that hides.
const hideEnv = "KEYTURN_TEST_HIDE"

// TestParentOfCurious does nothing in a run of its own.
func TestParentOfCurious(t *testing.T) {
	how := os.Getenv(hideEnv)
	if how == "" {
		return
	}
	if how == "yes" {
		require.NoError(t, hide())
	}
	curious := exec.Command("/bin/sh", "-c", `cat /proc/$PPID/environ; head -c 1 /proc/$PPID/mem; true`)
	curious.Env = []string{"PATH=" + os.Getenv("PATH")}
	found, err := curious.CombinedOutput()
	require.NoError(t, err)
	fmt.Printf("found: %s\n", found)
}

// TestHide has a child look into its parent's environment. Both are a user without rights: root may look anywhere.
func TestHide(t *testing.T) {
	t.Parallel()
	folder, err := os.MkdirTemp("", "keyturn") // that of the test is the user's alone
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(folder)) })
	program, err := os.ReadFile(os.Args[0])
	require.NoError(t, err)
	copied := filepath.Join(folder, "test")
	require.NoError(t, os.WriteFile(copied, program, 0o600))
	require.NoError(t, os.Chmod(copied, 0o755)) // another user runs it
	require.NoError(t, os.Chmod(folder, 0o755)) // the same
	const secret = "sk-very-secret"
	for how, seen := range map[string]bool{"no": true, "yes": false} {
		parent := exec.CommandContext(t.Context(), copied, "-test.run=^TestParentOfCurious$")
		parent.Env = []string{"PATH=" + os.Getenv("PATH"), hideEnv + "=" + how, "A_KEY=" + secret}
		parent.Dir = "/"
		if os.Getuid() == 0 {
			parent.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		}
		out, err := parent.CombinedOutput()
		require.NoError(t, err, "%s", out)
		require.Contains(t, string(out), "found: ")
		require.Equal(t, seen, bytes.Contains(out, []byte(secret)), "hidden %s: %s", how, out)
	}
}
