package sqlite_test

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	zombiezen "zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/keyturn/keyturn/internal/record"
	"github.com/keyturn/keyturn/internal/record/recordtest"
	"github.com/keyturn/keyturn/internal/record/sqlite"
)

const childEnv = "KEYTURN_TEST_STORE" // what a child process is to do, in a folder

func TestMain(m *testing.M) {
	if todo, dir, ok := strings.Cut(os.Getenv(childEnv), ":"); ok {
		if err := map[string]func(string) error{"write": writeForever, "full": fillUp, "start": startFull}[todo](dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func child(t *testing.T, todo, dir string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+todo+":"+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return cmd, bufio.NewScanner(out)
}

func openChild(dir string) (*sqlite.Store, error) {
	return sqlite.Open(sqlite.Options{
		Dir: dir, Retain: record.DefaultRetention, Content: record.DefaultContentRetention, Log: slog.New(slog.DiscardHandler),
	})
}

func lotOf(i int) (record.Lot, []*record.Turn) {
	turns := make([]*record.Turn, 100)
	for j := range turns {
		turns[j] = &record.Turn{ID: fmt.Sprintf("%d-%d", i, j), Start: recordtest.Midnight.Add(time.Duration(i) * time.Millisecond), Pool: "p", Client: fmt.Sprint(j)}
		turns[j].Bound()
	}
	return record.Lot{Writer: "child", Number: int64(i), Day: recordtest.Midnight}, turns
}

// writeForever says each lot that is written.
func writeForever(dir string) error {
	s, err := openChild(dir)
	if err != nil {
		return err
	}
	for i := 1; ; i++ {
		lot, turns := lotOf(i)
		if err := s.PutTurns(context.Background(), lot, turns); err != nil {
			return err
		}
		if err := s.PutStarts(context.Background(), []record.Start{{ID: strconv.Itoa(i), At: recordtest.Midnight}}); err != nil {
			return err
		}
		fmt.Println(i)
	}
}

// Killed in mid-write: what was said to be written is there, nothing is there by half, and sums are those of the turns.
func TestKilled(t *testing.T) {
	dir := t.TempDir()
	for range 3 {
		require.NoError(t, os.RemoveAll(dir))
		cmd, out := child(t, "write", dir)
		last := 0
		for last < 8 && out.Scan() {
			last, _ = strconv.Atoi(out.Text())
		}
		require.NoError(t, cmd.Process.Kill())
		for out.Scan() {
			last, _ = strconv.Atoi(out.Text())
		}
		require.Error(t, cmd.Wait())
		require.GreaterOrEqual(t, last, 8)

		s := open(t, dir, nil)
		rows, err := s.Spend(t.Context(), record.SpendQuery{})
		require.NoError(t, err)
		n := int(rows[0].Turns)
		require.Zero(t, n%100, "no lot by half")
		require.GreaterOrEqual(t, n, 100*last)
		require.LessOrEqual(t, n, 100*(last+1))
		q, counted := record.Query{Limit: 1000}, 0
		for {
			page, err := s.Turns(t.Context(), q)
			require.NoError(t, err)
			counted += len(page.Turns)
			if q.After = page.Next; q.After == "" {
				break
			}
		}
		require.Equal(t, n, counted)
		starts, err := s.Starts(t.Context(), recordtest.Midnight, recordtest.Midnight.Add(1), 1e6)
		require.NoError(t, err)
		require.GreaterOrEqual(t, len(starts), last)
		lot, turns := lotOf(last) // what it has it does not take again
		require.NoError(t, s.PutTurns(t.Context(), lot, turns))
		after, err := s.Spend(t.Context(), record.SpendQuery{})
		require.NoError(t, err)
		require.Equal(t, rows, after)
	}
}

// fillUp writes until no file may grow, and then with room again.
func fillUp(dir string) error {
	signal.Ignore(unix.SIGXFSZ)
	s, err := openChild(dir)
	if err != nil {
		return err
	}
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &before); err != nil {
		return err
	}
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 400 << 10, Max: before.Max}); err != nil {
		return err
	}
	i, failed := 1, 0
	for ; failed < 5; i++ {
		lot, turns := lotOf(i)
		if err := s.PutTurns(context.Background(), lot, turns); err != nil {
			if record.Poisoned(err) {
				return fmt.Errorf("it blames the turns: %w", err)
			}
			failed++
			i-- // again
		}
		if i > 10_000 {
			return fmt.Errorf("it never got full")
		}
	}
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &before); err != nil {
		return err
	}
	for end := i + 10; i < end; i++ {
		lot, turns := lotOf(i)
		if err := s.PutTurns(context.Background(), lot, turns); err != nil {
			return fmt.Errorf("there is room again: %w", err)
		}
	}
	rows, err := s.Spend(context.Background(), record.SpendQuery{})
	if err != nil {
		return err
	}
	fmt.Println(i-1, rows[0].Turns)
	return s.Close()
}

// A disk that is full loses nothing that it said to have, blames no turn, and when there is room again all goes on.
func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	cmd, out := child(t, "full", dir)
	require.True(t, out.Scan())
	var lots, turns int
	_, err := fmt.Sscan(out.Text(), &lots, &turns)
	require.NoError(t, err)
	require.NoError(t, cmd.Wait())
	require.Greater(t, lots, 10)
	require.Equal(t, 100*lots, turns)
	conn, err := zombiezen.OpenConn(filepath.Join(dir, "2026-11-30.db"), zombiezen.OpenReadWrite)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, sqlitex.Execute(conn, "pragma integrity_check", &sqlitex.ExecOptions{ResultFunc: func(stmt *zombiezen.Stmt) error {
		require.Equal(t, "ok", stmt.ColumnText(0))
		return nil
	}}))
}

// startFull begins while no file may grow.
func startFull(dir string) error {
	signal.Ignore(unix.SIGXFSZ)
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &before); err != nil {
		return err
	}
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 100, Max: before.Max}); err != nil {
		return err
	}
	s, err := openChild(dir)
	if err != nil {
		return fmt.Errorf("nobody needs records to begin: %w", err)
	}
	lot, turns := lotOf(1)
	if err := s.PutTurns(context.Background(), lot, turns); err == nil || record.Poisoned(err) {
		return fmt.Errorf("it found room, or blames the turns: %w", err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &before); err != nil {
		return err
	}
	if err := s.PutTurns(context.Background(), lot, turns); err != nil {
		return fmt.Errorf("there is room: %w", err)
	}
	rows, err := s.Spend(context.Background(), record.SpendQuery{})
	if err != nil {
		return err
	}
	fmt.Println(rows[0].Turns)
	return s.Close()
}

func TestDiskFullAtTheStart(t *testing.T) {
	cmd, out := child(t, "start", t.TempDir())
	require.True(t, out.Scan())
	require.Equal(t, "100", out.Text())
	require.NoError(t, cmd.Wait())
}

func TestFolderThatCannotBeWritten(t *testing.T) {
	dir, err := os.MkdirTemp("", "keyturn-read-") // that of the test is for its owner alone
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	read := filepath.Join(dir, "read")
	require.NoError(t, os.Mkdir(read, 0o555))
	require.NoError(t, os.Chmod(dir, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
	done := make(chan struct{})
	go func() { // the thread is not used again: root may write everywhere, so this one is somebody else
		defer close(done)
		runtime.LockOSThread()
		if os.Geteuid() == 0 {
			if _, err := unix.SetfsuidRetUid(65534); err != nil {
				t.Error(err)
				return
			}
		}
		for path, want := range map[string]string{
			read: "nothing can be written into the folder " + read, filepath.Join(read, "a", "b"): "cannot be made", filepath.Join(dir, "file"): "cannot be made",
		} {
			_, err := openChild(path)
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v", path, err)
			}
		}
	}()
	<-done
}

func TestDamagedFile(t *testing.T) {
	dir := t.TempDir()
	turns := recordtest.Turns(500, 1)
	s := open(t, dir, nil)
	recordtest.Put(t, s, "w", turns, nil)
	require.NoError(t, s.Close())
	require.NoError(t, os.WriteFile(filepath.Join(dir, "2026-11-29.db"), []byte(strings.Repeat("rubbish!", 1000)), 0o600))
	log := &strings.Builder{}
	s = open(t, dir, func(o *sqlite.Options) { o.Log = slog.New(slog.NewTextHandler(log, nil)) })
	require.Contains(t, log.String(), "damaged")
	require.FileExists(t, filepath.Join(dir, "2026-11-29.db.damaged"))
	page, err := s.Turns(t.Context(), record.Query{Limit: 1000})
	require.NoError(t, err)
	require.NotEmpty(t, page.Turns)
	require.True(t, page.Turns[len(page.Turns)-1].Start.Compare(recordtest.Midnight) >= 0)
}

func TestRetention(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, func(o *sqlite.Options) {
		o.Retain = record.Retention{For: 72 * time.Hour, Bytes: 1 << 30}
		o.Content = record.Retention{For: 24 * time.Hour, Bytes: 1 << 30}
	})
	turns := recordtest.Turns(recordtest.Many(1000), 1)
	said := recordtest.Said(turns)
	recordtest.Put(t, s, "w", turns, said)
	require.NoError(t, s.PutStarts(t.Context(), []record.Start{{ID: "1", At: recordtest.Midnight}}))
	spent := func(by ...string) []record.SpendRow {
		rows, err := s.Spend(t.Context(), record.SpendQuery{By: by, Every: record.Hour})
		require.NoError(t, err)
		return rows
	}
	before, sessions := spent("client", "model"), spent("session")
	count := func(pattern string) int {
		files, err := filepath.Glob(filepath.Join(dir, pattern))
		require.NoError(t, err)
		return len(files)
	}
	require.NoError(t, s.Maintain(t.Context(), recordtest.Midnight.Add(36*time.Hour)))
	require.Equal(t, []int{2, 1}, []int{count("2026-11-[0-9][0-9].db"), count("*.content.db")})
	require.NoError(t, s.Maintain(t.Context(), recordtest.Midnight.Add(49*time.Hour)))
	require.Equal(t, []int{2, 0}, []int{count("2026-11-[0-9][0-9].db"), count("*.content.db")}, "content goes first")
	got, err := s.Content(t.Context(), said[0].ID)
	require.NoError(t, err)
	require.Empty(t, got)
	require.NoError(t, s.Maintain(t.Context(), recordtest.Midnight.Add(73*time.Hour)))
	require.Equal(t, 1, count("2026-11-[0-9][0-9].db"))
	require.Equal(t, sessions, spent("session"))
	page, err := s.Turns(t.Context(), record.Query{Limit: 1000})
	require.NoError(t, err)
	for _, turn := range page.Turns {
		require.False(t, turn.Start.Before(recordtest.Midnight))
	}
	require.NoError(t, s.Maintain(t.Context(), recordtest.Midnight.Add(100*time.Hour)))
	require.Equal(t, 0, count("2026-*"))
	require.Equal(t, before, spent("client", "model"), "what was spent is still known")
	require.NoError(t, s.Maintain(t.Context(), recordtest.Midnight.Add(500*24*time.Hour)))
	require.Empty(t, spent())
}

func TestRetentionByBytes(t *testing.T) {
	dir, most := t.TempDir(), int64(recordtest.Many(3<<20))
	s := open(t, dir, func(o *sqlite.Options) { o.Retain.Bytes = most })
	turns := recordtest.Turns(recordtest.Many(6000), 5)
	recordtest.Put(t, s, "w", turns, nil)
	before, err := s.Spend(t.Context(), record.SpendQuery{By: []string{"model"}})
	require.NoError(t, err)
	require.NoError(t, s.Maintain(t.Context(), soon()))
	page, err := s.Turns(t.Context(), record.Query{})
	require.NoError(t, err)
	require.NotEmpty(t, page.Turns)
	files, err := filepath.Glob(filepath.Join(dir, "2026-11-*"))
	require.NoError(t, err)
	total := int64(0)
	for _, f := range files {
		info, err := os.Stat(f)
		require.NoError(t, err)
		total += info.Size()
	}
	require.LessOrEqual(t, total, most)
	after, err := s.Spend(t.Context(), record.SpendQuery{By: []string{"model"}})
	require.NoError(t, err)
	require.Equal(t, before, after)
}

// Two processes write into one folder.
func TestTwoWriters(t *testing.T) {
	dir := t.TempDir()
	one, two := open(t, dir, nil), open(t, dir, nil)
	turns := recordtest.Turns(recordtest.Many(600), 1)
	half := len(turns) / 2
	part := half / 10
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 10 {
			recordtest.Put(t, one, fmt.Sprint("one", i), turns[i*part:(i+1)*part], nil)
			if err := one.Maintain(context.Background(), soon().Add(48*time.Hour)); err != nil {
				t.Error(err)
			}
		}
	}()
	for i := range 10 {
		recordtest.Put(t, two, fmt.Sprint("two", i), turns[half+i*part:half+(i+1)*part], nil)
		require.NoError(t, two.Maintain(t.Context(), soon().Add(48*time.Hour)))
	}
	<-done
	recordtest.TestReader(t, one, turns, nil)
}
