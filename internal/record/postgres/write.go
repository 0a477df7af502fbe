package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/keyturn/keyturn/internal/record"
)

// columns are those of a turn that are read, in the order of readTurn; written are those that are written, in the order of turnRow.
var (
	columns = []string{
		"start", "ended", "id", "client", "session", "user_agent", "pool", "provider", "dialect", "method", "path", "asked", "answered", "stream", "tier",
		"status", "error_class", "ending", "first_byte", "overhead", "bytes_in", "bytes_out", "trace_id", "span_id", "key", "turns", "cut", "halves",
		"input", "cache_read", "cache_write", "output", "reasoning", "usage", "nano", "priced", "unpriced", "price_table", "trail",
	}
	written = append(slices.Clone(columns), "calls", "odd")
)

// sums are the columns of record.Sum, in its order.
var sums = []string{
	"turns", "failed", "unknown", "partial", "input", "cache_read", "cache_write", "output", "reasoning", "nano", "unpriced",
}

// PutTurns copies turns, and adds them to the sums, in one transaction.
func (s *Store) PutTurns(ctx context.Context, lot record.Lot, turns []*record.Turn) error {
	groups, sessions := record.Sums(turns)
	return s.once(ctx, "turns", lot, func(tx pgx.Tx) error {
		row := make([]any, 0, len(written))
		var trail []byte
		rows := pgx.CopyFromSlice(len(turns), func(i int) ([]any, error) {
			row, trail = turnRow(row[:0], trail[:0], turns[i]) // each row is encoded before the next is asked for
			return row, nil
		})
		if _, err := tx.CopyFrom(ctx, pgx.Identifier{"keyturn", "turns"}, written, rows); err != nil {
			return err
		}
		// The sums come last, so that another process waits for them as short as can be.
		days := map[record.HourGroup]record.Sum{}
		for g, sum := range groups {
			g.Hour = record.DayOf(g.Hour)
			day := days[g]
			day.Add(sum)
			days[g] = day
		}
		batch := &pgx.Batch{}
		addGroups(batch, lot.Day, turns)
		addSums(batch, "sessions", sessions)
		addSums(batch, "hours", groups)
		addSums(batch, "days", days)
		return tx.SendBatch(ctx, batch).Close()
	})
}

// once does what f does in a transaction, unless lot was written before, of what.
func (s *Store) once(ctx context.Context, what string, lot record.Lot, f func(pgx.Tx) error) error {
	if err := s.ready(ctx, lot.Day); err != nil {
		return err
	}
	err := s.within(ctx, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `insert into keyturn.writers (writer, number) values ($1, $2) on conflict (writer) do update
			set number = excluded.number, at = now() where keyturn.writers.number < excluded.number`, partition(lot.Writer+" "+what, lot.Day), lot.Number)
		switch {
		case err != nil:
			return err
		case tag.RowsAffected() == 0:
			return errKnown
		}
		return f(tx)
	})
	if errors.Is(err, errKnown) {
		return nil
	}
	var fault *pgconn.PgError
	if errors.As(err, &fault) && fault.Code == "23514" {
		s.forget(lot.Day)
	}
	return err
}

func turnRow(row []any, trail []byte, t *record.Turn) (values []any, buffer []byte) {
	row = append(row, t.Start, t.End, t.ID, t.Client, t.Session, t.UserAgent, t.Pool, t.Provider, t.Dialect, t.Method, t.Path, t.Asked, t.Answered,
		t.Stream, t.Tier, int32(t.Status), t.ErrorClass, int16(t.Ending), int64(t.FirstByte), int64(t.Overhead), t.BytesIn, t.BytesOut, t.TraceID, t.SpanID,
		t.Key, int32(t.Turns), int32(t.Cut), int16(t.Halves), t.Usage.Input, t.Usage.CacheRead, t.Usage.CacheWrite, t.Usage.Output, t.Usage.Reasoning,
		int16(t.Usage.State), t.Price.Nano, t.Price.Priced, t.Price.Unpriced, t.Price.Table)
	if trail = record.AppendTrail(trail, t); len(trail) == 0 {
		row = append(row, nil)
	} else {
		row = append(row, trail)
	}
	return append(row, int32(len(t.Calls)), t.Odd()), trail
}

// group is what an entry of turns_group begins with.
type group struct{ pool, key, asked, answered string }

// addGroups adds the groups of turns to those that there are, and says that they were seen on a day. In order, like addSums.
func addGroups(batch *pgx.Batch, day time.Time, turns []*record.Turn) {
	seen := map[group]struct{}{}
	for _, t := range turns {
		seen[group{t.Pool, t.Key, t.Asked, t.Answered}] = struct{}{}
	}
	order := slices.SortedFunc(maps.Keys(seen), func(a, b group) int {
		return cmp.Or(strings.Compare(a.pool, b.pool), strings.Compare(a.key, b.key), strings.Compare(a.asked, b.asked), strings.Compare(a.answered, b.answered))
	})
	var columns [4][]string
	for _, g := range order {
		for i, v := range []string{g.pool, g.key, g.asked, g.answered} {
			columns[i] = append(columns[i], v)
		}
	}
	batch.Queue(`insert into keyturn.groups as g (pool, key, asked, answered, seen) select *, $5::timestamptz
		from unnest($1::text[], $2::text[], $3::text[], $4::text[]) on conflict (pool, key, asked, answered) do update set seen = excluded.seen
		where g.seen < excluded.seen`, columns[0], columns[1], columns[2], columns[3], day)
}

// groupNames are the columns of a group of a table of sums.
func groupNames(table string) []string {
	if table == "sessions" {
		return []string{"client", "pool", "key", "model", "session"}
	}
	return []string{"client", "pool", "key", "model"}
}

// additions are the statements that add to the tables of sums, from one array a column.
var additions = func() map[string]string {
	statements := map[string]string{}
	for _, table := range []string{"hours", "days", "sessions"} {
		names := groupNames(table)
		arrays := []string{"$1::timestamptz[]"}
		for i := range names {
			arrays = append(arrays, fmt.Sprintf("$%d::text[]", i+2))
		}
		var add []string
		for i, name := range sums {
			arrays = append(arrays, fmt.Sprintf("$%d::bigint[]", len(names)+i+2))
			add = append(add, fmt.Sprintf("%s = s.%s + excluded.%s", name, name, name))
		}
		keys := append([]string{"at"}, names...)
		statements[table] = fmt.Sprintf("insert into keyturn.%s as s (%s) select * from unnest(%s) on conflict (%s) do update set %s", table,
			strings.Join(append(slices.Clone(keys), sums...), ", "), strings.Join(arrays, ", "), strings.Join(keys, ", "), strings.Join(add, ", "))
	}
	return statements
}()

// addSums adds to a table of sums, in an order that is the same for everybody: two processes that add to the same rows do not wait for each other
// for ever.
func addSums(batch *pgx.Batch, table string, groups map[record.HourGroup]record.Sum) {
	order := make([]record.HourGroup, 0, len(groups))
	for g := range groups {
		order = append(order, g)
	}
	slices.SortFunc(order, func(a, b record.HourGroup) int {
		return cmp.Or(a.Hour.Compare(b.Hour), strings.Compare(a.Client, b.Client), strings.Compare(a.Pool, b.Pool), strings.Compare(a.Key, b.Key),
			strings.Compare(a.Model, b.Model), strings.Compare(a.Session, b.Session))
	})
	at := make([]time.Time, len(order))
	names := groupNames(table)
	texts, numbers := make([][]string, len(names)), make([][]int64, len(sums))
	for i, g := range order {
		at[i] = g.Hour
		for j, name := range names {
			texts[j] = append(texts[j], g.Of(name))
		}
		sum := groups[g]
		for j, n := range []int64{
			sum.Turns, sum.Failed, sum.Unknown, sum.Partial, sum.Input, sum.CacheRead, sum.CacheWrite, sum.Output, sum.Reasoning, sum.Nano, sum.Unpriced,
		} {
			numbers[j] = append(numbers[j], n)
		}
	}
	args := []any{at}
	for _, column := range texts {
		args = append(args, column)
	}
	for _, column := range numbers {
		args = append(args, column)
	}
	batch.Queue(additions[table], args...)
}

// PutContent copies what was said in turns of lot.Day.
func (s *Store) PutContent(ctx context.Context, lot record.Lot, said []record.Content) error {
	return s.once(ctx, "content", lot, func(tx pgx.Tx) error {
		columns := []string{"day", "id", "kind", "turn", "call", "text", "cut", "at", "place"}
		_, err := tx.CopyFrom(ctx, pgx.Identifier{"keyturn", "content"}, columns, pgx.CopyFromSlice(len(said), func(i int) ([]any, error) {
			c := &said[i]
			return []any{lot.Day, c.ID, int16(c.Kind), int32(c.Turn), c.Call, c.Text, c.Cut, c.At, int32(i)}, nil
		}))
		return err
	})
}

// PutStarts writes that requests begin, and waits until the server has committed it.
func (s *Store) PutStarts(ctx context.Context, starts []record.Start) error {
	for i := range starts {
		if err := s.ready(ctx, record.DayOf(starts[i].At)); err != nil {
			return err
		}
	}
	return s.within(ctx, func(tx pgx.Tx) error {
		columns := []string{"at", "id", "client", "session", "pool", "method", "path"}
		_, err := tx.CopyFrom(ctx, pgx.Identifier{"keyturn", "starts"}, columns, pgx.CopyFromSlice(len(starts), func(i int) ([]any, error) {
			c := &starts[i]
			return []any{c.At, c.ID, c.Client, c.Session, c.Pool, c.Method, c.Path}, nil
		}))
		return err
	})
}
