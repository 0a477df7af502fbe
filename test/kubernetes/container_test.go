package kubernetes

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// container is a process as a container's runtime starts it: in a file system that it cannot write to but for its volumes, under its
// user, without capabilities. There is no runtime here.
type container struct {
	root     string
	writable []string // folders below root
	uid, gid int
	groups   []int
}

// entryEnv tells this program that it is the first process of a container, and which.
const entryEnv = "KEYTURN_TEST_CONTAINER"

type entry struct {
	Root     string
	Writable []string
	UID, GID int
	Groups   []int
	Args     []string
}

// command is the program of the image with arguments, in the container.
func (c container) command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	return c.exec(t, append([]string{"/usr/local/bin/keyturn"}, args...)...)
}

func (c container) exec(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	require.Zero(t, os.Geteuid(), "this test makes a container's root and changes users: run it as root")
	b, err := json.Marshal(entry{c.root, c.writable, c.uid, c.gid, c.groups, args})
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
	cmd.Env = []string{entryEnv + "=" + string(b)}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	return cmd
}

func TestMain(m *testing.M) {
	if b := os.Getenv(entryEnv); b != "" {
		fmt.Fprintln(os.Stderr, "container:", start([]byte(b)))
		os.Exit(125)
	}
	var err error
	if programs.dir, err = os.MkdirTemp("", "keyturn"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	if err := os.RemoveAll(programs.dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

// dial stands for a program that connects to the socket behind it and ends.
const dial = "dial"

// start becomes the container's program; it returns only when it cannot.
func start(b []byte) error {
	var e entry
	if err := json.Unmarshal(b, &e); err != nil {
		return err
	}
	if err := enclose(e.Root, e.Writable); err != nil {
		return err
	}
	if err := os.WriteFile("/written", nil, 0o600); !errors.Is(err, syscall.EROFS) {
		return fmt.Errorf("the root can be written to: %v", err)
	}
	for cap := range uintptr(unix.CAP_LAST_CAP + 1) {
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, cap, 0, 0, 0); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("drop capability %d: %w", cap, err)
		}
	}
	if err := errors.Join(syscall.Setgroups(e.Groups), syscall.Setgid(e.GID), syscall.Setuid(e.UID)); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	if e.Args[0] == dial {
		c, err := net.Dial("unix", e.Args[1])
		if err != nil {
			return err
		}
		if err := c.Close(); err != nil {
			return err
		}
		os.Exit(0)
	}
	return syscall.Exec(e.Args[0], e.Args, nil)
}

// enclose makes root the root, read-only but for some folders.
func enclose(root string, writable []string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keep mounts to this process: %w", err)
	}
	if err := unix.Mount(root, root, "", unix.MS_BIND, ""); err != nil {
		return err
	}
	for _, w := range writable {
		w = filepath.Join(root, w)
		if err := unix.Mount(w, w, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("%s: %w", w, err)
		}
	}
	if err := unix.Mount("", root, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY|unix.MS_NOSUID, ""); err != nil {
		return fmt.Errorf("make it read-only: %w", err)
	}
	return errors.Join(unix.Chroot(root), unix.Chdir("/"))
}
