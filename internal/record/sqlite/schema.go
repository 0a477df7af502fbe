package sqlite

import (
	"fmt"
	"strings"

	"zombiezen.com/go/sqlite"
)

// sums are the columns of record.Sum, in its order.
const sums = `turns, failed, unknown, partial, input, cache_read, cache_write, output, reasoning, nano, unpriced`

const sumColumns = `turns integer not null, failed integer not null, unknown integer not null, partial integer not null, input integer not null,
	cache_read integer not null, cache_write integer not null, output integer not null, reasoning integer not null, nano integer not null, unpriced integer not null`

const groupColumns = `client text not null, pool text not null, key text not null, model text not null`

// migrations are the statements that bring a file of a kind from the version of their index to the next. Times are microseconds since 1970, durations
// nanoseconds. Each index is a good part of what a turn costs, so ids are indexed by 64 bits, and by_group is for every question about a pool, a key
// or a model: groups has the few values that it begins with. What was released is never changed.
var migrations = map[kind][]string{
	turnsFile: {`
		create table turns (
			start integer not null, ended integer not null, id text not null, client text not null, session text not null, user_agent text not null,
			pool text not null, provider text not null, dialect text not null, method text not null, path text not null, asked text not null,
			answered text not null, stream integer not null, tier text not null, status integer not null, error_class text not null,
			ending integer not null, first_byte integer not null, overhead integer not null, bytes_in integer not null, bytes_out integer not null,
			trace_id text not null, span_id text not null, key text not null, turns integer not null, cut integer not null, halves integer not null,
			input integer not null, cache_read integer not null, cache_write integer not null, output integer not null, reasoning integer not null,
			usage integer not null, nano integer not null, priced integer not null, unpriced integer not null, price_table text not null,
			trail text not null, calls integer not null, odd integer not null, id_hash integer not null, session_hash integer not null);
		create index by_id on turns (id_hash);
		create index by_start on turns (start);
		create index by_client on turns (client, start) where client <> '';
		create index by_session on turns (session_hash, start) where session_hash <> 0;
		create index by_group on turns (pool, key, asked, answered, start);
		create index by_odd on turns (start, status, error_class) where odd = 1;
		create index by_calls on turns (start) where calls > 0;
		create table groups (pool text not null, key text not null, asked text not null, answered text not null,
			primary key (pool, key, asked, answered)) without rowid;
		create table hours (at integer not null, ` + groupColumns + `, session text not null, ` + sumColumns + `,
			primary key (at, client, pool, key, model, session)) without rowid;
		create table sessions (at integer not null, ` + groupColumns + `, session text not null, ` + sumColumns + `,
			primary key (at, session, client, pool, key, model)) without rowid;
		create table writers (writer text primary key, number integer not null) without rowid;
	`},
	contentFile: {`
		create table content (id text not null, kind integer not null, turn integer not null, call text not null, text text not null, cut integer not null,
			at integer not null);
		create index by_id on content (id);
		create table writers (writer text primary key, number integer not null) without rowid;
	`},
	startsFile: {`
		create table starts (at integer not null, id text not null, client text not null, session text not null, pool text not null, method text not null,
			path text not null);
		create index by_at on starts (at);
	`},
	spendFile: {`
		create table sealed (file text primary key) without rowid;
		create table hours (file text not null, at integer not null, ` + groupColumns + `, session text not null, ` + sumColumns + `,
			primary key (at, client, pool, key, model, session, file)) without rowid;
		create table days (file text not null, at integer not null, ` + groupColumns + `, session text not null, ` + sumColumns + `,
			primary key (at, client, pool, key, model, session, file)) without rowid;
		create table sessions (file text not null, at integer not null, ` + groupColumns + `, session text not null, ` + sumColumns + `,
			primary key (at, session, client, pool, key, model, file)) without rowid;
	`},
}

// application is the id in the head of each file, "Ktrn".
const application = 0x4b74726e

// migrate brings what conn has open to the newest version of its kind.
func migrate(conn *sqlite.Conn, k kind) error {
	steps := migrations[k]
	version, err := number(conn, "pragma user_version")
	if err != nil {
		return err
	}
	if version == int64(len(steps)) {
		return nil
	}
	if version > int64(len(steps)) {
		return fmt.Errorf("it was written by a newer Keyturn (version %d of its form, and this one knows %d)", version, len(steps))
	}
	return within(conn, "immediate", func() error {
		if version, err = number(conn, "pragma user_version"); err != nil { // another process may have been faster
			return err
		}
		for ; version < int64(len(steps)); version++ {
			if err := script(conn, steps[version]); err != nil {
				return err
			}
		}
		return script(conn, fmt.Sprintf("pragma user_version = %d; pragma application_id = %d;", len(steps), application))
	})
}

// within does what f does in a transaction of a mode.
func within(conn *sqlite.Conn, mode string, f func() error) error {
	if err := script(conn, "begin "+mode); err != nil {
		return err
	}
	err := f()
	if err == nil {
		err = script(conn, "commit")
	}
	if err != nil && !conn.AutocommitEnabled() {
		done := conn.SetInterrupt(nil)
		_ = script(conn, "rollback")
		conn.SetInterrupt(done)
	}
	return err
}

// script runs statements that answer nothing.
func script(conn *sqlite.Conn, statements string) error {
	for statements = strings.TrimSpace(statements); statements != ""; {
		stmt, rest, err := conn.PrepareTransient(statements)
		if err != nil {
			return err
		}
		for row := true; row && err == nil; {
			row, err = stmt.Step()
		}
		if done := stmt.Finalize(); err == nil {
			err = done
		}
		if err != nil {
			return err
		}
		statements = strings.TrimSpace(statements[len(statements)-rest:])
	}
	return nil
}

// number returns the one number that a statement answers with.
func number(conn *sqlite.Conn, query string) (n int64, err error) {
	stmt, _, err := conn.PrepareTransient(query)
	if err != nil {
		return 0, err
	}
	defer func() { _ = stmt.Finalize() }()
	row, err := stmt.Step()
	if err != nil || !row {
		return 0, err
	}
	return stmt.ColumnInt64(0), nil
}
