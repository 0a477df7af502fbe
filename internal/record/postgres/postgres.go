// Package postgres keeps records in a PostgreSQL, in the schema keyturn: a partition for each UTC day, and sums by hour and day. Several processes may
// write into one.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/keyturn/keyturn/internal/record"
)

const (
	openTimeout = 5 * time.Second // nothing else begins before
	// limits bound each transaction at the server.
	limits = "set local lock_timeout = '5s'; set local statement_timeout = '30s'; set local idle_in_transaction_session_timeout = '60s'"
)

// Options are the settings of a Store.
type Options struct {
	URL     string // postgres://…, a secret
	Retain  time.Duration
	Content time.Duration
	Log     *slog.Logger
}

// Store is a schema of a database. It is safe for concurrent use.
type Store struct {
	o     Options
	pool  *pgxpool.Pool
	steps []string // migrations

	newest sync.Mutex // held while the schema is brought to the newest version

	mu       sync.Mutex         // protects all below
	migrated bool               // the schema is of the newest version
	days     map[time.Time]bool // that have partitions
}

// errNewer is the error of a schema that this version does not know.
var errNewer = errors.New("the schema keyturn was made by a newer Keyturn")

// Open connects, and makes the schema or brings it to the newest version. A server that does not answer is no error: it is tried again when there is
// something to write. Errors do not repeat the URL.
func Open(ctx context.Context, o Options) (*Store, error) { return open(ctx, o, migrations) }

func open(ctx context.Context, o Options, steps []string) (*Store, error) {
	config, err := pgxpool.ParseConfig(o.URL)
	if err != nil {
		return nil, errors.New("the URL of the PostgreSQL cannot be read; write one such as postgres://user:password@host:5432/keyturn")
	}
	if _, ok := config.ConnConfig.RuntimeParams["application_name"]; !ok {
		config.ConnConfig.RuntimeParams["application_name"] = "keyturn"
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	s := &Store{o: o, pool: pool, steps: steps, days: map[time.Time]bool{}}
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	switch err := s.current(ctx); {
	case errors.Is(err, errNewer):
		pool.Close()
		return nil, fmt.Errorf("the PostgreSQL for records: %w", err)
	case err != nil:
		o.Log.Error("the PostgreSQL for records is not ready; it is tried again", slog.Any("error", err))
	}
	return s, nil
}

// current sees to the schema, unless that was done.
func (s *Store) current(ctx context.Context) error {
	done := func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.migrated
	}
	if done() {
		return nil
	}
	s.newest.Lock()
	defer s.newest.Unlock()
	if done() {
		return nil
	}
	if err := s.migrate(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.migrated = true
	return nil
}

// Close ends the store.
func (s *Store) Close() error {
	s.pool.Close()
	return nil
}

// errKnown ends a transaction of a lot that was written before.
var errKnown = errors.New("the lot was written before")

// within does what f does in a transaction.
func (s *Store) within(ctx context.Context, f func(pgx.Tx) error) error {
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	tx, err := conn.Begin(ctx)
	if err != nil {
		return err
	}
	err = script(ctx, tx, limits)
	if err == nil {
		err = f(tx)
	}
	if err == nil {
		return tx.Commit(ctx)
	}
	alive := !conn.Conn().IsClosed()
	_ = tx.Rollback(ctx)
	return classify(err, alive && ctx.Err() == nil)
}

// classify marks the errors that are the fault of what was to be written: those of classes 21 to 23 of the server's, and what the client cannot
// encode while the connection lives on.
func classify(err error, alive bool) error {
	var fault *pgconn.PgError
	switch {
	case errors.Is(err, errKnown):
		return err
	case errors.As(err, &fault):
		switch {
		case fault.Code == "23514": // no partition for the row: whoever wrote it makes one
			return err
		case strings.HasPrefix(fault.Code, "21"), strings.HasPrefix(fault.Code, "22"), strings.HasPrefix(fault.Code, "23"):
			return record.Poison(err)
		}
		return err
	case alive && strings.Contains(err.Error(), "encode"):
		return record.Poison(err)
	}
	return err
}

// ready sees to the partitions of a day.
func (s *Store) ready(ctx context.Context, day time.Time) error {
	if err := s.current(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	there := s.days[day]
	s.mu.Unlock()
	if there {
		return nil
	}
	err := s.within(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "select pg_advisory_xact_lock($1)", int64(partitionLock)); err != nil {
			return err
		}
		return makeDay(ctx, tx, day)
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.days[day] = true
	return nil
}

// forget has the partitions of a day looked for again: another process may have dropped them.
func (s *Store) forget(day time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.days, day)
}

// Maintain makes the partitions of the days to come, and drops those that are too old. One process at a time does.
func (s *Store) Maintain(ctx context.Context, now time.Time) error {
	if err := s.current(ctx); err != nil {
		return err
	}
	err := s.within(ctx, func(tx pgx.Tx) error {
		var mine bool
		if err := tx.QueryRow(ctx, "select pg_try_advisory_xact_lock($1)", int64(partitionLock)).Scan(&mine); err != nil || !mine {
			return err
		}
		for ahead := range 3 {
			if err := makeDay(ctx, tx, record.DayOf(now).AddDate(0, 0, ahead)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	kept := map[string]time.Duration{"turns": s.o.Retain, "starts": s.o.Retain, "sessions": s.o.Retain, "content": s.o.Content}
	var failed []error
	for table, keep := range kept {
		failed = append(failed, s.drop(ctx, table, now.Add(-keep)))
	}
	sums := now.Add(-max(spendKept, s.o.Retain))
	for _, statement := range []string{"delete from keyturn.hours where at < $1", "delete from keyturn.days where at < $1"} {
		_, err := s.pool.Exec(ctx, statement, sums)
		failed = append(failed, err)
	}
	_, err = s.pool.Exec(ctx, "delete from keyturn.groups where seen < $1", now.Add(-s.o.Retain-48*time.Hour))
	failed = append(failed, err)
	_, err = s.pool.Exec(ctx, "delete from keyturn.writers where at < $1", now.Add(-48*time.Hour))
	return errors.Join(append(failed, err)...)
}

// spendKept is how long sums are kept when the turns are gone.
const spendKept = 400 * 24 * time.Hour

// drop drops the partitions of a table whose days ended before before, each in a transaction of its own.
func (s *Store) drop(ctx context.Context, table string, before time.Time) error {
	rows, err := s.pool.Query(ctx, `select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid
		where i.inhparent = to_regclass($1) order by c.relname`, "keyturn."+table)
	if err != nil {
		return err
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	for _, name := range names {
		day, err := time.Parse("20060102", strings.TrimPrefix(name, table+"_"))
		if err != nil || !day.Add(24*time.Hour).Before(before) {
			continue // somebody else's, or kept
		}
		err = s.within(ctx, func(tx pgx.Tx) error {
			var mine bool
			if err := tx.QueryRow(ctx, "select pg_try_advisory_xact_lock($1)", int64(partitionLock)).Scan(&mine); err != nil || !mine {
				return err
			}
			return script(ctx, tx, "drop table if exists keyturn."+name)
		})
		if err != nil {
			return err
		}
		s.forget(day)
		s.o.Log.Info("records are no longer kept", slog.String("partition", name))
	}
	return nil
}
