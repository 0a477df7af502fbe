package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/keyturn/keyturn/internal/record"
)

// reading is a connection that reads a file, for one reader at a time.
type reading struct {
	turn chan struct{} // holds one: whose turn it is
	conn *sqlite.Conn
	used time.Time // protected by Store.mu
}

func (r *reading) close() error {
	r.turn <- struct{}{}
	if r.conn == nil {
		return nil
	}
	conn := r.conn
	r.conn = nil
	return conn.Close()
}

// query calls f with a connection that reads a file. The error is fs.ErrNotExist where the file is gone.
func (s *Store) query(ctx context.Context, of file, f func(*sqlite.Conn) error) error {
	r, err := s.reader(of)
	if err != nil {
		return err
	}
	select {
	case r.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-r.turn }()
	if r.conn == nil {
		if r.conn, err = openForReading(s.path(of), of.kind); err != nil {
			return err
		}
	}
	r.conn.SetInterrupt(ctx.Done())
	err = within(r.conn, "deferred", func() error { return f(r.conn) })
	r.conn.SetInterrupt(nil)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, record.ErrBadQuery):
		return err
	}
	return fmt.Errorf("%s: %w", s.path(of), err)
}

// reader returns the connection of a file, and closes the one that was not used for the longest time where too many are open.
func (s *Store) reader(of file) (*reading, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, fs.ErrClosed
	}
	r := s.read[of]
	if r == nil {
		if len(s.read) >= maxOpen {
			s.closeOldestLocked()
		}
		r = &reading{turn: make(chan struct{}, 1)}
		s.read[of] = r
	}
	r.used = time.Now()
	return r, nil
}

func (s *Store) closeOldestLocked() {
	var oldest file
	for f, r := range s.read {
		if o := s.read[oldest]; o == nil || r.used.Before(o.used) {
			oldest = f
		}
	}
	s.stopReadingLocked(oldest)
}

// stopReadingLocked closes the connection of a file when nobody reads any more.
func (s *Store) stopReadingLocked(of file) {
	if r := s.read[of]; r != nil {
		delete(s.read, of)
		go func() { _ = r.close() }()
	}
}

// openForReading opens a file that is there. One whose first write failed, for want of room it may be, has no tables yet.
func openForReading(path string, k kind) (*sqlite.Conn, error) {
	if _, err := os.Stat(path); err != nil {
		if k != spendFile {
			return nil, err
		}
		return connect(path, k)
	}
	// Not read-only: whoever reads a file that was not closed has to take in what its log holds.
	conn, err := sqlite.OpenConn(path, sqlite.OpenReadWrite)
	if err != nil {
		if _, gone := os.Stat(path); gone != nil {
			return nil, gone
		}
		return nil, err
	}
	conn.SetBusyTimeout(busyTimeout)
	if version, err := number(conn, "pragma user_version"); err != nil || version < int64(len(migrations[k])) {
		if err := errors.Join(err, conn.Close()); err != nil {
			return nil, err
		}
		if conn, err = connect(path, k); err != nil {
			return nil, err
		}
	}
	if err := script(conn, "pragma query_only = 1; pragma temp_store = memory;"); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// rows calls f for each row of the answer.
func rows(conn *sqlite.Conn, query string, args []any, f func(*sqlite.Stmt) error) error {
	stmt, err := conn.Prepare(query)
	if err != nil {
		return err
	}
	defer func() { _ = stmt.Reset() }()
	b := binder{stmt: stmt}
	for _, arg := range args {
		switch v := arg.(type) {
		case string:
			b.text(v)
		case int64:
			b.number(v)
		}
	}
	for {
		row, err := stmt.Step()
		if err != nil || !row {
			return err
		}
		if err := f(stmt); err != nil {
			return err
		}
	}
}

// reader reads columns in order.
type columnReader struct {
	stmt *sqlite.Stmt
	n    int
}

func (c *columnReader) text(into ...*string) {
	for _, p := range into {
		*p = c.stmt.ColumnText(c.n)
		c.n++
	}
}

func (c *columnReader) number(into ...*int64) {
	for _, p := range into {
		*p = c.int()
	}
}

func (c *columnReader) int() int64 {
	c.n++
	return c.stmt.ColumnInt64(c.n - 1)
}

func (c *columnReader) time() time.Time { return time.UnixMicro(c.int()).UTC() }

func readTurn(stmt *sqlite.Stmt) (*record.Turn, error) {
	t, c := &record.Turn{}, columnReader{stmt: stmt}
	t.Start, t.End = c.time(), c.time()
	c.text(&t.ID, &t.Client, &t.Session, &t.UserAgent, &t.Pool, &t.Provider, &t.Dialect, &t.Method, &t.Path, &t.Asked, &t.Answered)
	t.Stream = c.int() != 0
	c.text(&t.Tier)
	t.Status = int(c.int())
	c.text(&t.ErrorClass)
	t.Ending, t.FirstByte, t.Overhead = record.Ending(c.int()), time.Duration(c.int()), time.Duration(c.int())
	c.number(&t.BytesIn, &t.BytesOut)
	c.text(&t.TraceID, &t.SpanID, &t.Key)
	t.Turns, t.Cut, t.Halves = int(c.int()), int(c.int()), record.Halves(c.int())
	c.number(&t.Usage.Input, &t.Usage.CacheRead, &t.Usage.CacheWrite, &t.Usage.Output, &t.Usage.Reasoning)
	t.Usage.State = record.UsageState(c.int())
	t.Price.Nano, t.Price.Priced, t.Price.Unpriced = c.int(), c.int() != 0, c.int()
	var trail string
	c.text(&t.Price.Table, &trail)
	return t, record.ReadTrail([]byte(trail), t)
}

// newest returns the newest turns of a file that q selects, at least limit of them if it has as many.
func newest(conn *sqlite.Conn, q record.Query, after record.Place, limit int) (found []*record.Turn, err error) {
	wanted, err := conditions(conn, q, after)
	if err != nil {
		return nil, err
	}
	if len(wanted) > 1 { // since when there are as many, before any is read
		var starts []int64
		for _, c := range wanted {
			query := "select start from turns indexed by " + c.index + c.where() + " order by start desc limit ?"
			err := rows(conn, query, append(slices.Clone(c.args), int64(limit)), func(stmt *sqlite.Stmt) error {
				starts = append(starts, stmt.ColumnInt64(0))
				return nil
			})
			if err != nil {
				return nil, err
			}
		}
		if len(starts) > limit {
			slices.Sort(starts)
			for i := range wanted {
				wanted[i].add("start >= ?", starts[len(starts)-limit])
			}
		}
	}
	for _, c := range wanted {
		query := "select " + columns + " from turns indexed by " + c.index + c.where() + " order by start desc, id desc limit ?"
		err := rows(conn, query, append(c.args, int64(limit)), func(stmt *sqlite.Stmt) error {
			t, err := readTurn(stmt)
			found = append(found, t)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}

// Turns returns a page of those that q selects.
func (s *Store) Turns(ctx context.Context, q record.Query) (record.Page, error) {
	q, after, err := q.Complete()
	if err != nil {
		return record.Page{}, err
	}
	files, err := list(s.o.Dir, turnsFile)
	if err != nil {
		return record.Page{}, err
	}
	latest := q.Until
	if q.After != "" {
		latest = after.Start.Add(1)
	}
	var found []*record.Turn
	for i, f := range slices.Backward(files) {
		if !latest.IsZero() && !f.day.Before(latest) || f.day.Add(24*time.Hour).Before(q.From) {
			continue
		}
		if len(found) > q.Limit && (i == len(files)-1 || !files[i+1].day.Equal(f.day)) {
			break // the page is full, and a day is done with all its parts
		}
		err := s.query(ctx, f, func(conn *sqlite.Conn) error {
			turns, err := newest(conn, q, after, q.Limit+1)
			found = append(found, turns...)
			return err
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return record.Page{}, err
		}
	}
	return record.NewPage(found, q.Limit), nil
}

// Turn returns the newest turn of that id.
func (s *Store) Turn(ctx context.Context, id string) (record.Turn, error) {
	t, _, err := s.find(ctx, id)
	if err != nil {
		return record.Turn{}, err
	}
	return *t, nil
}

// find returns a turn and its day.
func (s *Store) find(ctx context.Context, id string) (found *record.Turn, day time.Time, err error) {
	files, err := list(s.o.Dir, turnsFile)
	if err != nil {
		return nil, time.Time{}, err
	}
	for _, f := range slices.Backward(files) {
		if found != nil && !f.day.Equal(day) {
			break
		}
		err := s.query(ctx, f, func(conn *sqlite.Conn) error {
			return rows(conn, "select "+columns+" from turns where id_hash = ? and id = ? order by start desc limit 1", []any{hash(id), id}, func(stmt *sqlite.Stmt) error {
				t, err := readTurn(stmt)
				if err == nil && (found == nil || found.Start.Before(t.Start)) {
					found, day = t, f.day
				}
				return err
			})
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, time.Time{}, err
		}
	}
	if found == nil {
		return nil, time.Time{}, record.ErrNotFound
	}
	return found, day, nil
}

// Content returns what was said in a turn.
func (s *Store) Content(ctx context.Context, id string) (said []record.Content, err error) {
	_, day, err := s.find(ctx, id)
	if errors.Is(err, record.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	files, err := list(s.o.Dir, contentFile)
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		if !f.day.Equal(day) {
			continue
		}
		err := s.query(ctx, f, func(conn *sqlite.Conn) error {
			return rows(conn, "select kind, turn, call, text, cut, at from content where id = ? order by rowid", []any{id}, func(stmt *sqlite.Stmt) error {
				cell := record.Content{ID: id}
				c := columnReader{stmt: stmt}
				cell.Kind, cell.Turn = record.ContentKind(c.int()), int(c.int())
				c.text(&cell.Call, &cell.Text)
				cell.Cut, cell.At = c.int() != 0, c.time()
				said = append(said, cell)
				return nil
			})
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return said, nil
}

// Starts returns the starts of requests within a time.
func (s *Store) Starts(ctx context.Context, from, until time.Time, limit int) (found []record.Start, err error) {
	files, err := list(s.o.Dir, startsFile)
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		if len(found) >= limit || !f.day.Before(until) || !f.day.Add(24*time.Hour).After(from) {
			continue
		}
		const query = "select at, id, client, session, pool, method, path from starts where at >= ? and at < ? order by at, id limit ?"
		err := s.query(ctx, f, func(conn *sqlite.Conn) error {
			return rows(conn, query, []any{ceil(from), ceil(until), int64(limit - len(found))}, func(stmt *sqlite.Stmt) error {
				c := columnReader{stmt: stmt}
				start := record.Start{At: c.time()}
				c.text(&start.ID, &start.Client, &start.Session, &start.Pool, &start.Method, &start.Path)
				found = append(found, start)
				return nil
			})
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return found, nil
}
