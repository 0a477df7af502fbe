package sqlite

import (
	"context"
	"fmt"
	"hash/fnv"
	"io"
	"strings"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/keyturn/keyturn/internal/record"
)

// columns are those of a turn, in the order of bindTurn and readTurn.
const columns = `start, ended, id, client, session, user_agent, pool, provider, dialect, method, path, asked, answered, stream, tier, status, error_class,
	ending, first_byte, overhead, bytes_in, bytes_out, trace_id, span_id, key, turns, cut, halves, input, cache_read, cache_write, output, reasoning,
	usage, nano, priced, unpriced, price_table, trail`

// places are n question marks.
func places(n int) string { return strings.TrimSuffix(strings.Repeat("?,", n), ",") }

var insertTurn = `insert into turns (` + columns + `, calls, odd, id_hash, session_hash) values (` + places(strings.Count(columns, ",")+5) + `)`

// PutTurns writes turns and what they add to the day's sums.
func (s *Store) PutTurns(ctx context.Context, lot record.Lot, turns []*record.Turn) error {
	f, err := s.current(turnsFile, lot, s.o.Retain.Bytes)
	if err != nil {
		return err
	}
	if err := s.unseal(ctx, f); err != nil {
		return err
	}
	groups, sessions := record.Sums(turns)
	err = s.write[turnsFile].with(ctx, s, f, func(conn *sqlite.Conn) error {
		return once(conn, lot, func() error {
			stmt, err := conn.Prepare(insertTurn)
			if err != nil {
				return err
			}
			var trail []byte
			for _, t := range turns {
				trail = record.AppendTrail(trail[:0], t)
				bindTurn(stmt, t, string(trail))
				if err := run(stmt); err != nil {
					return err
				}
			}
			if err := addGroups(conn, turns); err != nil {
				return err
			}
			if err := addSums(conn, "hours", groups); err != nil {
				return err
			}
			return addSums(conn, "sessions", sessions)
		})
	})
	if err != nil {
		return err
	}
	return s.unseal(ctx, f) // whoever summed the day up meanwhile did without these
}

// once does what f does in a transaction, unless lot was written before.
func once(conn *sqlite.Conn, lot record.Lot, f func() error) error {
	return within(conn, "immediate", func() error {
		stmt, err := conn.Prepare("select number from writers where writer = ?")
		if err != nil {
			return err
		}
		stmt.BindText(1, lot.Writer)
		written, err := stmt.Step()
		written = written && stmt.ColumnInt64(0) >= lot.Number
		if done := stmt.Reset(); err == nil {
			err = done
		}
		if err != nil || written {
			return err
		}
		if err := f(); err != nil {
			return err
		}
		if stmt, err = conn.Prepare("insert into writers values (?, ?) on conflict do update set number = excluded.number"); err != nil {
			return err
		}
		stmt.BindText(1, lot.Writer)
		stmt.BindInt64(2, lot.Number)
		return run(stmt)
	})
}

// run runs a statement that answers nothing.
func run(stmt *sqlite.Stmt) error {
	_, err := stmt.Step()
	if done := stmt.Reset(); err == nil {
		err = done
	}
	return err
}

// binder binds parameters in order.
type binder struct {
	stmt *sqlite.Stmt
	n    int
}

func (b *binder) text(values ...string) {
	for _, v := range values {
		b.n++
		b.stmt.BindText(b.n, v)
	}
}

func (b *binder) number(values ...int64) {
	for _, v := range values {
		b.n++
		b.stmt.BindInt64(b.n, v)
	}
}

func bit(v bool) int64 {
	if v {
		return 1
	}
	return 0
}

func bindTurn(stmt *sqlite.Stmt, t *record.Turn, trail string) {
	b := binder{stmt: stmt}
	b.number(t.Start.UnixMicro(), t.End.UnixMicro())
	b.text(t.ID, t.Client, t.Session, t.UserAgent, t.Pool, t.Provider, t.Dialect, t.Method, t.Path, t.Asked, t.Answered)
	b.number(bit(t.Stream))
	b.text(t.Tier)
	b.number(int64(t.Status))
	b.text(t.ErrorClass)
	b.number(int64(t.Ending), int64(t.FirstByte), int64(t.Overhead), t.BytesIn, t.BytesOut)
	b.text(t.TraceID, t.SpanID, t.Key)
	b.number(int64(t.Turns), int64(t.Cut), int64(t.Halves), t.Usage.Input, t.Usage.CacheRead, t.Usage.CacheWrite, t.Usage.Output, t.Usage.Reasoning,
		int64(t.Usage.State), t.Price.Nano, bit(t.Price.Priced), t.Price.Unpriced)
	b.text(t.Price.Table, trail)
	b.number(int64(len(t.Calls)), bit(t.Odd()), hash(t.ID), hash(t.Session))
}

// hash is 64 bits of s; 0 for "" alone.
func hash(s string) int64 {
	if s == "" {
		return 0
	}
	h := fnv.New64a()
	_, _ = io.WriteString(h, s)
	return int64(h.Sum64() | 1<<63) // never 0
}

// group is what an entry of by_group begins with.
type group struct{ pool, key, asked, answered string }

// addGroups adds the groups of turns to those that the file has.
func addGroups(conn *sqlite.Conn, turns []*record.Turn) error {
	groups := map[group]struct{}{}
	for _, t := range turns {
		groups[group{t.Pool, t.Key, t.Asked, t.Answered}] = struct{}{}
	}
	for g := range groups {
		if err := execute(conn, "insert or ignore into groups values (?, ?, ?, ?)", g.pool, g.key, g.asked, g.answered); err != nil {
			return err
		}
	}
	return nil
}

// addition is what adds each column of the sums up.
var addition = func() string {
	var parts []string
	for name := range strings.SplitSeq(sums, ", ") {
		parts = append(parts, fmt.Sprintf("%s = %s + excluded.%s", name, name, name))
	}
	return strings.Join(parts, ", ")
}()

func addSums(conn *sqlite.Conn, table string, groups map[record.HourGroup]record.Sum) error {
	stmt, err := conn.Prepare(`insert into ` + table + ` (at, client, pool, key, model, session, ` + sums + `) values (` +
		places(6+strings.Count(sums, ",")+1) + `) on conflict do update set ` + addition)
	if err != nil {
		return err
	}
	for g, sum := range groups {
		b := binder{stmt: stmt}
		b.number(g.Hour.UnixMicro())
		b.text(g.Client, g.Pool, g.Key, g.Model, g.Session)
		b.number(sum.Turns, sum.Failed, sum.Unknown, sum.Partial, sum.Input, sum.CacheRead, sum.CacheWrite, sum.Output, sum.Reasoning, sum.Nano, sum.Unpriced)
		if err := run(stmt); err != nil {
			return err
		}
	}
	return nil
}

// PutContent writes what was said in turns of lot.Day.
func (s *Store) PutContent(ctx context.Context, lot record.Lot, said []record.Content) error {
	f, err := s.current(contentFile, lot, s.o.Content.Bytes)
	if err != nil {
		return err
	}
	return s.write[contentFile].with(ctx, s, f, func(conn *sqlite.Conn) error {
		return once(conn, lot, func() error {
			stmt, err := conn.Prepare(`insert into content (id, kind, turn, call, text, cut, at) values (?,?,?,?,?,?,?)`)
			if err != nil {
				return err
			}
			for i := range said {
				c := &said[i]
				b := binder{stmt: stmt}
				b.text(c.ID)
				b.number(int64(c.Kind), int64(c.Turn))
				b.text(c.Call, c.Text)
				b.number(bit(c.Cut), c.At.UnixMicro())
				if err := run(stmt); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// PutStarts writes that requests begin, and waits until the disk has it.
func (s *Store) PutStarts(ctx context.Context, starts []record.Start) error {
	days := map[time.Time][]record.Start{}
	for _, start := range starts {
		day := record.DayOf(start.At)
		days[day] = append(days[day], start)
	}
	for day, starts := range days {
		err := s.write[startsFile].with(ctx, s, file{day: day, kind: startsFile}, func(conn *sqlite.Conn) error {
			return within(conn, "immediate", func() error {
				stmt, err := conn.Prepare(`insert into starts (at, id, client, session, pool, method, path) values (?,?,?,?,?,?,?)`)
				if err != nil {
					return err
				}
				for _, start := range starts {
					b := binder{stmt: stmt}
					b.number(start.At.UnixMicro())
					b.text(start.ID, start.Client, start.Session, start.Pool, start.Method, start.Path)
					if err := run(stmt); err != nil {
						return err
					}
				}
				return nil
			})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// parts is how many files what is retained by bytes is split into at least, so that deleting one does not delete all.
const parts = 8

// current returns the file that a lot belongs into: the day's last part, or the next one when that is large enough. A lot that is tried again goes
// where it went before, which knows whether it has it.
func (s *Store) current(k kind, lot record.Lot, retained int64) (file, error) {
	files, err := list(s.o.Dir, k)
	if err != nil {
		return file{}, err
	}
	f := file{day: lot.Day, kind: k}
	for _, other := range files {
		if other.day.Equal(lot.Day) {
			f = other
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if last, ok := s.placed[string(k)+"/"+lot.Writer]; ok && last.lot == lot {
		return last.file, nil
	}
	if size(s.o.Dir, f) > retained/parts {
		f.part++
	}
	s.placed[string(k)+"/"+lot.Writer] = placed{lot, f}
	return f, nil
}

// placed is where the last lot of a writer went.
type placed struct {
	lot  record.Lot
	file file
}
