// Package sqlite keeps records in a folder: a SQLite file for each UTC day, and one for what was spent on the days that are over. What is too old, or too
// much, goes by deleting files.
package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/keyturn/keyturn/internal/record"
)

const (
	busyTimeout = 5 * time.Second // for another process that writes the same file
	maxOpen     = 64              // files that stay open for reading
	cacheKiB    = 16 << 10        // of a connection that writes
	logPages    = 8 << 10         // of a file's log: pages that many turns change are copied once
)

// Options are the settings of a Store.
type Options struct {
	Dir     string
	Retain  record.Retention // of turns
	Content record.Retention // of what they said
	Log     *slog.Logger
	Now     func() time.Time // nil: time.Now
}

// Store is a folder of records. It is safe for concurrent use, by several processes too.
type Store struct {
	o     Options
	write map[kind]*writing
	spend *writing // the spend file's

	mu     sync.Mutex // protects all below
	read   map[file]*reading
	placed map[string]placed // by writer
	closed bool
}

// writing is the connection that writes files of a kind: one at a time.
type writing struct {
	mu   sync.Mutex // protects all below
	open map[file]*sqlite.Conn
}

// Open opens the folder, and makes it where there is none.
func Open(o Options) (*Store, error) {
	if err := prepare(o.Dir); err != nil {
		return nil, err
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Store{o: o, write: map[kind]*writing{}, read: map[file]*reading{}, placed: map[string]placed{}}
	for k := range migrations {
		s.write[k] = &writing{open: map[file]*sqlite.Conn{}}
	}
	s.spend = s.write[spendFile]
	if err := s.migrate(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// migrate brings every file to the newest version.
func (s *Store) migrate() error {
	all := []file{{kind: spendFile}}
	for k := range migrations {
		files, err := list(s.o.Dir, k)
		if err != nil {
			return err
		}
		all = append(all, files...)
	}
	for _, f := range all {
		conn, err := connect(s.path(f), f.kind)
		if err == nil {
			err = conn.Close()
		}
		switch sqlite.ErrCode(err).ToPrimary() {
		case sqlite.ResultOK:
		case sqlite.ResultCorrupt, sqlite.ResultNotADB:
			if err := s.setAside(f, err); err != nil {
				return err
			}
		case sqlite.ResultFull, sqlite.ResultIOErr: // there may be room later, and nobody should wait for records until then
			s.o.Log.Error("records cannot be written now; it is tried again", slog.String("file", s.path(f)), slog.Any("error", err))
		default:
			return fmt.Errorf("%s: %w", s.path(f), err)
		}
	}
	return nil
}

// setAside renames a file that is damaged, so that the others can be used.
func (s *Store) setAside(f file, why error) error {
	s.o.Log.Error("a file of records is damaged and set aside", slog.String("file", s.path(f)), slog.Any("error", why))
	for _, beside := range sidecars {
		if err := os.Rename(s.path(f)+beside, s.path(f)+beside+".damaged"); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func (s *Store) path(f file) string { return filepath.Join(s.o.Dir, f.name()) }

// connect opens a file for writing, and makes it where there is none.
func connect(path string, k kind) (*sqlite.Conn, error) {
	made, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600) // SQLite would make it for everybody to read
	if err != nil {
		return nil, err
	}
	if err := made.Close(); err != nil {
		return nil, err
	}
	conn, err := sqlite.OpenConn(path, sqlite.OpenReadWrite|sqlite.OpenCreate)
	if err != nil {
		return nil, err
	}
	conn.SetBusyTimeout(busyTimeout)
	synchronous := "normal" // a crash of the machine loses the last moments; one of the process loses nothing
	if k == startsFile {
		synchronous = "full"
	}
	err = script(conn, fmt.Sprintf("pragma journal_mode = wal; pragma synchronous = %s; pragma cache_size = -%d; pragma temp_store = memory;"+
		"pragma wal_autocheckpoint = %d; pragma journal_size_limit = %d;", synchronous, cacheKiB, logPages, 4096*logPages))
	if err == nil {
		err = migrate(conn, k)
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// with calls f with the connection that writes a file. A connection on which anything failed is not used again.
func (w *writing) with(ctx context.Context, s *Store, of file, f func(*sqlite.Conn) error) (err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.open == nil {
		return fs.ErrClosed
	}
	conn := w.open[of]
	if conn == nil {
		for other, c := range w.open {
			if len(w.open) < 3 { // today, and yesterday's last turns
				break
			}
			delete(w.open, other)
			_ = c.Close()
		}
		if conn, err = connect(s.path(of), of.kind); err != nil {
			return classify(fmt.Errorf("%s: %w", s.path(of), err))
		}
		w.open[of] = conn
	}
	conn.SetInterrupt(ctx.Done())
	err = f(conn)
	conn.SetInterrupt(nil)
	if err != nil {
		delete(w.open, of)
		_ = conn.Close()
		return classify(fmt.Errorf("%s: %w", s.path(of), err))
	}
	return nil
}

// forget closes the connection that writes a file.
func (w *writing) forget(of file) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if conn := w.open[of]; conn != nil {
		delete(w.open, of)
		_ = conn.Close()
	}
}

func (w *writing) close() (err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, conn := range w.open {
		err = errors.Join(err, conn.Close())
	}
	w.open = nil
	return err
}

// classify marks the errors that are the fault of what was to be written.
func classify(err error) error {
	switch sqlite.ErrCode(err).ToPrimary() {
	case sqlite.ResultConstraint, sqlite.ResultMismatch, sqlite.ResultTooBig, sqlite.ResultRange:
		return record.Poison(err)
	default:
		return err
	}
}

// Close ends the store.
func (s *Store) Close() (err error) {
	s.mu.Lock()
	s.closed = true
	for f, r := range s.read {
		delete(s.read, f)
		err = errors.Join(err, r.close())
	}
	s.mu.Unlock()
	for _, w := range s.write {
		err = errors.Join(err, w.close())
	}
	return err
}
