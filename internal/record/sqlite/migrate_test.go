package sqlite

import (
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"zombiezen.com/go/sqlite"

	"github.com/keyturn/keyturn/internal/record"
	"github.com/keyturn/keyturn/internal/record/recordtest"
)

// A folder of an older version is brought to the newest one when it is opened, every file of it, and one of a newer version is refused in words.
func TestMigration(t *testing.T) {
	dir := t.TempDir()
	o := Options{Dir: dir, Retain: record.DefaultRetention, Content: record.DefaultContentRetention, Log: slog.New(slog.DiscardHandler)}
	turns := recordtest.Turns(recordtest.Many(500), 1)
	old, err := Open(o)
	require.NoError(t, err)
	recordtest.Put(t, old, "w", turns, nil)
	require.NoError(t, old.Close())

	steps := migrations[turnsFile]
	t.Cleanup(func() { migrations[turnsFile] = steps })
	migrations[turnsFile] = append(steps[:1:1], "alter table turns add column colour text not null default 'blue'; create index by_colour on turns (colour);")
	s, err := Open(o)
	require.NoError(t, err)
	recordtest.TestReader(t, s, turns, nil)
	for _, day := range []time.Time{recordtest.Midnight, recordtest.Midnight.Add(-24 * time.Hour)} {
		blue := int64(0)
		require.NoError(t, s.query(t.Context(), file{day: day}, func(conn *sqlite.Conn) (err error) {
			blue, err = number(conn, "select count(*) from turns where colour = 'blue'")
			return err
		}))
		require.NotZero(t, blue)
	}
	require.NoError(t, s.Close())

	migrations[turnsFile] = steps
	_, err = Open(o)
	require.ErrorContains(t, err, "2026-11-29.db: it was written by a newer Keyturn (version 2 of its form, and this one knows 1)")
}

func TestFileNames(t *testing.T) {
	for name, want := range map[string]file{
		"2026-11-30.db": {day: recordtest.Midnight}, "2026-11-30.12.db": {day: recordtest.Midnight, part: 12},
		"2026-11-30.content.db": {day: recordtest.Midnight, kind: contentFile}, "2026-11-30.starts.1.db": {day: recordtest.Midnight, kind: startsFile, part: 1},
	} {
		got, ok := parse(name)
		require.True(t, ok, name)
		require.Equal(t, want, got)
		require.Equal(t, name, got.name())
	}
	for _, name := range []string{"spend.db", "2026-11-30.db-wal", "2026-13-30.db", "2026-11-30.0.db", "x2026-11-30.db", "2026-11-30.db.damaged"} {
		_, ok := parse(name)
		require.False(t, ok, name)
	}
}
