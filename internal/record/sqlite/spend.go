package sqlite

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/keyturn/keyturn/internal/record"
)

const spendColumns = "at, client, pool, key, model, session, " + sums

var all = file{kind: spendFile}

// Spend sums up: days that are over from the spend file, the others from their own.
func (s *Store) Spend(ctx context.Context, q record.SpendQuery) ([]record.SpendRow, error) {
	q, err := q.Complete()
	if err != nil {
		return nil, err
	}
	for range 2 { // a file may be sealed and deleted just now: then the spend file has what it had
		rows, err := s.sum(ctx, q)
		if !errors.Is(err, fs.ErrNotExist) {
			return rows, err
		}
	}
	return s.sum(ctx, q)
}

func (s *Store) sum(ctx context.Context, q record.SpendQuery) ([]record.SpendRow, error) {
	files, err := list(s.o.Dir, turnsFile)
	if err != nil {
		return nil, err
	}
	spending := record.NewSpending(q)
	sealed := map[string]bool{}
	err = s.query(ctx, all, func(conn *sqlite.Conn) error {
		err := rows(conn, "select file from sealed", nil, func(stmt *sqlite.Stmt) error {
			sealed[stmt.ColumnText(0)] = true
			return nil
		})
		if err != nil {
			return err
		}
		return sumSealed(conn, q, spending)
	})
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		if sealed[f.name()] || !q.Until.IsZero() && !f.day.Before(q.Until) || !f.day.Add(24*time.Hour).After(q.From) {
			continue
		}
		err := s.query(ctx, f, func(conn *sqlite.Conn) error { return sumHours(conn, table(q), q.From, q.Until, spending) })
		if err != nil {
			return nil, err
		}
	}
	return spending.Rows(), nil
}

// table is where the hours of a query stand.
func table(q record.SpendQuery) string {
	if q.BySession() {
		return "sessions"
	}
	return "hours"
}

// sumSealed sums up what the spend file has.
func sumSealed(conn *sqlite.Conn, q record.SpendQuery, spending *record.Spending) error {
	for _, stretch := range q.Stretches() {
		from := table(q)
		if stretch.Days {
			from = "days"
		}
		if err := sumHours(conn, from, stretch.From, stretch.Until, spending); err != nil {
			return err
		}
	}
	return nil
}

// sumHours sums up the rows of a table whose times are within from and until; zero: all.
func sumHours(conn *sqlite.Conn, table string, from, until time.Time, spending *record.Spending) error {
	var c condition
	if !from.IsZero() {
		c.add("at >= ?", from.UnixMicro())
	}
	if !until.IsZero() {
		c.add("at < ?", until.UnixMicro())
	}
	return rows(conn, "select "+spendColumns+" from "+table+c.where(), c.args, func(stmt *sqlite.Stmt) error {
		r, g, sum := columnReader{stmt: stmt}, record.Group{}, record.Sum{}
		at := r.time()
		r.text(&g.Client, &g.Pool, &g.Key, &g.Model, &g.Session)
		r.number(&sum.Turns, &sum.Failed, &sum.Unknown, &sum.Partial, &sum.Input, &sum.CacheRead, &sum.CacheWrite, &sum.Output, &sum.Reasoning,
			&sum.Nano, &sum.Unpriced)
		return spending.Add(at, g, sum)
	})
}

// unseal forgets that the spend file has what a file has, which is about to change.
func (s *Store) unseal(ctx context.Context, f file) error {
	if f.day.Add(24 * time.Hour).After(s.o.Now()) {
		return nil // nobody sums a day up before its end
	}
	sealed := false
	err := s.query(ctx, all, func(conn *sqlite.Conn) error {
		return rows(conn, "select 1 from sealed where file = ?", []any{f.name()}, func(*sqlite.Stmt) error {
			sealed = true
			return nil
		})
	})
	if err != nil || !sealed {
		return err
	}
	return s.spend.with(ctx, s, all, func(conn *sqlite.Conn) error {
		return within(conn, "immediate", func() error { return unsealed(conn, f) })
	})
}

// unsealed takes out of the spend file what it has of a file.
func unsealed(conn *sqlite.Conn, f file) error {
	for _, table := range []string{"sealed", "hours", "days", "sessions"} {
		if err := execute(conn, "delete from "+table+" where file = ?", f.name()); err != nil {
			return err
		}
	}
	return nil
}

func execute(conn *sqlite.Conn, statement string, args ...any) error {
	return rows(conn, statement, args, func(*sqlite.Stmt) error { return nil })
}

// seal puts the sums of a file into the spend file, unless they are there.
func (s *Store) seal(ctx context.Context, f file) error {
	return s.spend.with(ctx, s, all, func(conn *sqlite.Conn) (err error) {
		there, err := sealedIn(conn, f)
		if err != nil || there {
			return err
		}
		if err := execute(conn, "attach ? as of_day", s.path(f)); err != nil {
			return err
		}
		err = within(conn, "immediate", func() error {
			if err := unsealed(conn, f); err != nil {
				return err
			}
			name := f.name()
			for _, table := range []string{"hours", "sessions"} {
				err := execute(conn, "insert into main."+table+" (file, "+spendColumns+") select ?, "+spendColumns+" from of_day."+table, name)
				if err != nil {
					return err
				}
			}
			err := execute(conn, "insert into days (file, "+spendColumns+") select ?, ?, client, pool, key, model, session, "+summed+
				" from of_day.hours group by client, pool, key, model, session", name, f.day.UnixMicro())
			if err != nil {
				return err
			}
			return execute(conn, "insert into sealed values (?)", name)
		})
		if detached := script(conn, "detach of_day"); err == nil {
			err = detached
		}
		return err
	})
}

// summed is what sums each column of the sums up.
var summed = func() string {
	var parts []string
	for name := range strings.SplitSeq(sums, ", ") {
		parts = append(parts, "sum("+name+")")
	}
	return strings.Join(parts, ", ")
}()

func sealedIn(conn *sqlite.Conn, f file) (there bool, err error) {
	err = rows(conn, "select 1 from sealed where file = ?", []any{f.name()}, func(*sqlite.Stmt) error {
		there = true
		return nil
	})
	return there, err
}
