package sqlite

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/keyturn/keyturn/internal/record"
)

const (
	// settled is how long after its end a day is summed up: turns that began in it may have ended later.
	settled = time.Hour
	// spendKept is how long sums are kept when the turns are gone.
	spendKept = 400 * 24 * time.Hour
)

// Maintain sums up the days that are over, and deletes what is too old or too much.
func (s *Store) Maintain(ctx context.Context, now time.Time) error {
	turns, err := list(s.o.Dir, turnsFile)
	if err != nil {
		return err
	}
	var failed []error
	for _, f := range turns {
		if f.day.Add(24*time.Hour + settled).Before(now) {
			failed = append(failed, s.seal(ctx, f))
		}
	}
	keep := map[kind]record.Retention{
		turnsFile: s.o.Retain, contentFile: s.o.Content, startsFile: {For: s.o.Retain.For, Bytes: record.MaxRetainedBytes},
	}
	for k, keep := range keep {
		failed = append(failed, s.retain(ctx, k, keep, now))
	}
	return errors.Join(append(failed, s.forgetSums(ctx, now))...)
}

// forgetSums deletes the sums that are no longer kept.
func (s *Store) forgetSums(ctx context.Context, now time.Time) error {
	sessions := now.Add(-s.o.Retain.For - 48*time.Hour) // there may be one for each turn
	groups := now.Add(-max(spendKept, s.o.Retain.For+48*time.Hour))
	return s.spend.with(ctx, s, all, func(conn *sqlite.Conn) error {
		return within(conn, "immediate", func() error {
			for table, since := range map[string]time.Time{"hours": groups, "days": groups, "sessions": sessions} {
				if err := execute(conn, "delete from "+table+" where at < ?", since.UnixMicro()); err != nil {
					return err
				}
			}
			return execute(conn, "delete from sealed where file < ?", groups.Format(time.DateOnly))
		})
	})
}

// retain deletes files, the oldest first, until none is too old and all together are not too large. The last one stays: it is being written.
func (s *Store) retain(ctx context.Context, k kind, keep record.Retention, now time.Time) error {
	files, err := list(s.o.Dir, k)
	if err != nil {
		return err
	}
	total := int64(0)
	for _, f := range files {
		total += size(s.o.Dir, f)
	}
	for i, f := range files {
		old := f.day.Add(24 * time.Hour).Before(now.Add(-keep.For))
		if !old && (total <= keep.Bytes || i == len(files)-1) {
			return nil
		}
		if f.kind == turnsFile {
			switch err := s.seal(ctx, f); {
			case ctx.Err() != nil:
				return ctx.Err()
			case err != nil: // a full disk, it may be: the room that the file has is needed
				s.o.Log.Error("what was spent cannot be kept longer than the turns", slog.String("file", f.name()), slog.Any("error", err))
			}
		}
		n := size(s.o.Dir, f)
		s.write[f.kind].forget(f)
		s.mu.Lock()
		s.stopReadingLocked(f)
		s.mu.Unlock()
		if err := remove(s.o.Dir, f); err != nil {
			return err
		}
		s.o.Log.Info("records are no longer kept", slog.String("file", f.name()), slog.Int64("bytes", n), slog.Bool("old", old))
		total -= n
	}
	return nil
}
