package sqlite_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/record"
	"github.com/keyturn/keyturn/internal/record/recordtest"
	"github.com/keyturn/keyturn/internal/record/sqlite"
)

// soon is shortly after the turns of recordtest.
func soon() time.Time { return recordtest.Midnight.Add(25 * time.Hour) }

func open(t testing.TB, dir string, change func(*sqlite.Options)) *sqlite.Store {
	t.Helper()
	o := sqlite.Options{
		Dir: dir, Retain: record.DefaultRetention, Content: record.DefaultContentRetention, Log: slog.New(slog.DiscardHandler), Now: soon,
	}
	if change != nil {
		change(&o)
	}
	s, err := sqlite.Open(o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func TestAnswers(t *testing.T) {
	turns := recordtest.Turns(recordtest.Many(500), 1)
	said := recordtest.Said(turns)
	dir := t.TempDir()
	s := open(t, dir, nil)
	recordtest.Put(t, s, "w", turns, said)
	t.Run("written", func(t *testing.T) { recordtest.TestReader(t, s, turns, said) })
	recordtest.Put(t, s, "w", turns, said) // once more: it is known
	t.Run("written twice", func(t *testing.T) { recordtest.TestReader(t, s, turns, said) })
	require.NoError(t, s.Maintain(t.Context(), soon()))
	t.Run("the first day is over", func(t *testing.T) { recordtest.TestReader(t, s, turns, said) })
	require.NoError(t, s.Maintain(t.Context(), soon().Add(48*time.Hour)))
	t.Run("both days are over", func(t *testing.T) { recordtest.TestReader(t, s, turns, said) })
	late := recordtest.Turns(recordtest.Many(100), 2)
	recordtest.Put(t, s, "late", late, nil)
	turns = append(turns, late...)
	t.Run("late turns", func(t *testing.T) { recordtest.TestReader(t, s, turns, said) })
	require.NoError(t, s.Maintain(t.Context(), soon().Add(48*time.Hour)))
	t.Run("and those are over", func(t *testing.T) { recordtest.TestReader(t, s, turns, said) })
	again := open(t, dir, nil)
	t.Run("opened again", func(t *testing.T) { recordtest.TestReader(t, again, turns, said) })
}

// With one turn there is one group.
func TestOneTurn(t *testing.T) {
	s := open(t, t.TempDir(), nil)
	turns := []*record.Turn{{ID: "1", Start: recordtest.Midnight, Pool: "dev", Key: "spare", Asked: "gpt-5", Answered: "gpt-5", Status: 200}}
	turns[0].Bound()
	recordtest.Put(t, s, "w", turns, nil)
	recordtest.TestReader(t, s, turns, nil)
}

// A day that is too large is kept in several files, and answers stay the same.
func TestADayInParts(t *testing.T) {
	turns := recordtest.Turns(recordtest.Many(1500), 3)
	said := recordtest.Said(turns)
	dir := t.TempDir()
	s := open(t, dir, func(o *sqlite.Options) {
		o.Retain.Bytes = int64(recordtest.Many(4 << 20))
		o.Content.Bytes = o.Retain.Bytes
	})
	recordtest.Put(t, s, "w", turns, said)
	files, err := filepath.Glob(filepath.Join(dir, "2026-*.[0-9]*.db"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	recordtest.TestReader(t, s, turns, said)
}

func TestFilesAreTheOwnersAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	s := open(t, dir, nil)
	recordtest.Put(t, s, "w", recordtest.Turns(10, 1), nil)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.NotEmpty(t, entries)
	for _, e := range entries {
		info, err := e.Info()
		require.NoError(t, err)
		require.Zero(t, info.Mode().Perm()&0o077, e.Name())
	}
}
