package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Names of advisory locks, of Keyturn alone: two processes must not migrate, or make and drop partitions, at the same time.
const (
	migrationLock = 0x4b74726e01
	partitionLock = 0x4b74726e02
)

const sumColumns = `turns bigint not null, failed bigint not null, unknown bigint not null, partial bigint not null, input bigint not null,
	cache_read bigint not null, cache_write bigint not null, output bigint not null, reasoning bigint not null, nano bigint not null, unpriced bigint not null`

const groupColumns = `client text not null, pool text not null, key text not null, model text not null`

// migrations are the statements that bring the schema from the version of their index to the next. Durations are nanoseconds. What was released is
// never changed. turns_group is for every question about a pool, a key or a model: groups has the few values that it begins with.
var migrations = []string{`
	create table keyturn.turns (
		start timestamptz not null, ended timestamptz not null, id text collate "C" not null, client text not null, session text not null, user_agent text not null,
		pool text not null, provider text not null, dialect text not null, method text not null, path text not null, asked text not null,
		answered text not null, stream boolean not null, tier text not null, status integer not null, error_class text not null,
		ending smallint not null, first_byte bigint not null, overhead bigint not null, bytes_in bigint not null, bytes_out bigint not null,
		trace_id text collate "C" not null, span_id text collate "C" not null, key text not null, turns integer not null, cut integer not null, halves smallint not null,
		input bigint not null, cache_read bigint not null, cache_write bigint not null, output bigint not null, reasoning bigint not null,
		usage smallint not null, nano bigint not null, priced boolean not null, unpriced bigint not null, price_table text not null,
		trail jsonb, calls integer not null, odd boolean not null) partition by range (start);
	create index turns_start on keyturn.turns (start, id);
	create index turns_id on keyturn.turns (id);
	create index turns_client on keyturn.turns (client, start, id) where client <> '';
	create index turns_session on keyturn.turns (session, start, id) where session <> '';
	create index turns_group on keyturn.turns (pool, key, asked, answered, start, id);
	create index turns_odd on keyturn.turns (start, id, status, error_class) where odd;
	create index turns_calls on keyturn.turns (start, id) where calls > 0;
	create table keyturn.groups (pool text not null, key text not null, asked text not null, answered text not null, seen timestamptz not null,
		primary key (pool, key, asked, answered));
	create table keyturn.content (
		day timestamptz not null, id text collate "C" not null, kind smallint not null, turn integer not null, call text not null, text text not null,
		cut boolean not null, at timestamptz not null, place integer not null) partition by range (day);
	create index content_id on keyturn.content (id);
	create table keyturn.starts (
		at timestamptz not null, id text collate "C" not null, client text not null, session text not null, pool text not null, method text not null,
		path text not null) partition by range (at);
	create index starts_at on keyturn.starts (at, id);
	create table keyturn.hours (at timestamptz not null, ` + groupColumns + `, ` + sumColumns + `, primary key (at, client, pool, key, model));
	create table keyturn.days (at timestamptz not null, ` + groupColumns + `, ` + sumColumns + `, primary key (at, client, pool, key, model));
	create table keyturn.sessions (at timestamptz not null, session text not null, ` + groupColumns + `, ` + sumColumns + `,
		primary key (at, session, client, pool, key, model)) partition by range (at);
	create table keyturn.writers (writer text primary key, number bigint not null, at timestamptz not null default now());
`}

// migrate brings the schema to the newest version, as whoever is first.
func (s *Store) migrate(ctx context.Context) error {
	return s.within(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "select pg_advisory_xact_lock($1)", int64(migrationLock)); err != nil {
			return err
		}
		if err := script(ctx, tx, "create schema if not exists keyturn; create table if not exists keyturn.version (version integer not null)"); err != nil {
			return err
		}
		var version int
		if err := tx.QueryRow(ctx, "select coalesce(max(version), 0) from keyturn.version").Scan(&version); err != nil {
			return err
		}
		if version > len(s.steps) {
			return fmt.Errorf("%w (version %d, and this one knows %d)", errNewer, version, len(s.steps))
		}
		if version == len(s.steps) {
			return nil
		}
		for ; version < len(s.steps); version++ {
			if err := script(ctx, tx, s.steps[version]); err != nil {
				return fmt.Errorf("version %d of the schema: %w", version+1, err)
			}
		}
		_, err := tx.Exec(ctx, "insert into keyturn.version values ($1)", version)
		return err
	})
}

// script runs statements that answer nothing.
func script(ctx context.Context, tx pgx.Tx, statements string) error {
	_, err := tx.Conn().PgConn().Exec(ctx, statements).ReadAll()
	return err
}

// partitioned are the tables with a partition for each day.
var partitioned = []string{"turns", "content", "starts", "sessions"}

// partition is the name of a day's partition of a table.
func partition(table string, day time.Time) string { return table + "_" + day.Format("20060102") }

// bound writes an instant as the bound of a partition: with its offset, or the session's time zone would decide.
func bound(t time.Time) string { return t.UTC().Format("'2006-01-02 15:04:05+00'") }

// makeDay makes the partitions of a day, unless they are there.
func makeDay(ctx context.Context, tx pgx.Tx, day time.Time) error {
	for _, table := range partitioned {
		var there bool
		name := partition(table, day)
		if err := tx.QueryRow(ctx, "select to_regclass($1) is not null", "keyturn."+name).Scan(&there); err != nil {
			return err
		}
		if there {
			continue
		}
		err := script(ctx, tx, fmt.Sprintf("create table keyturn.%s partition of keyturn.%s for values from (%s) to (%s)", name, table, bound(day),
			bound(day.AddDate(0, 0, 1))))
		if err != nil {
			return err
		}
	}
	return nil
}
