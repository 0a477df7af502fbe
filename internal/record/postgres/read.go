package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/keyturn/keyturn/internal/record"
)

// readTurn reads a row of columns.
func readTurn(row pgx.CollectableRow) (*record.Turn, error) {
	var t record.Turn
	var first, overhead int64
	var trail []byte
	err := row.Scan(&t.Start, &t.End, &t.ID, &t.Client, &t.Session, &t.UserAgent, &t.Pool, &t.Provider, &t.Dialect, &t.Method, &t.Path, &t.Asked,
		&t.Answered, &t.Stream, &t.Tier, &t.Status, &t.ErrorClass, &t.Ending, &first, &overhead, &t.BytesIn, &t.BytesOut, &t.TraceID, &t.SpanID, &t.Key,
		&t.Turns, &t.Cut, &t.Halves, &t.Usage.Input, &t.Usage.CacheRead, &t.Usage.CacheWrite, &t.Usage.Output, &t.Usage.Reasoning, &t.Usage.State,
		&t.Price.Nano, &t.Price.Priced, &t.Price.Unpriced, &t.Price.Table, &trail)
	if err != nil {
		return nil, err
	}
	t.Start, t.End, t.FirstByte, t.Overhead = t.Start.UTC(), t.End.UTC(), time.Duration(first), time.Duration(overhead)
	return &t, record.ReadTrail(trail, &t)
}

// condition is what a query asks of turns in SQL.
type condition struct {
	terms []string
	args  []any
}

// add adds a term, whose $ are its arguments in order.
func (c *condition) add(term string, args ...any) {
	for _, arg := range args {
		c.args = append(c.args, arg)
		term = strings.Replace(term, "$", fmt.Sprintf("@%d", len(c.args)), 1)
	}
	c.terms = append(c.terms, strings.ReplaceAll(term, "@", "$"))
}

// field asks for a field's value; its index leaves empty values out.
func (c *condition) field(name, value string) {
	if value != "" {
		c.add(name+" = $ and "+name+" <> ''", value)
	}
}

func (c *condition) where() string {
	if len(c.terms) == 0 {
		return ""
	}
	return " where " + strings.Join(c.terms, " and ")
}

// base returns all of q in SQL but what turns_group is for.
func base(q record.Query, after record.Place) (c condition) {
	if !q.From.IsZero() {
		c.add("start >= $", record.Ceil(q.From))
	}
	if !q.Until.IsZero() {
		c.add("start < $", record.Ceil(q.Until))
	}
	if q.After != "" {
		c.add("(start, id) < ($, $)", after.Start, after.ID)
	}
	if from, to := q.StatusRange(); from != 0 {
		c.add("status between $ and $", from, to)
	}
	if q.ErrorClass != "" {
		c.add("error_class = $", q.ErrorClass)
	}
	if q.Failed {
		c.add("error_class <> ''")
	}
	if q.Odd() {
		c.add("odd")
	}
	if q.WithTools {
		c.add("calls > 0")
	}
	c.field("client", q.Client)
	c.field("session", q.Session)
	return c
}

// grouped adds what q asks of groups.
func (c *condition) grouped(q record.Query) {
	if q.Pool != "" {
		c.add("pool = $", q.Pool)
	}
	if q.Key != "" {
		c.add("key = $", q.Key)
	}
	if q.Model != "" {
		c.add("(asked = $ or answered = $)", q.Model, q.Model)
	}
}

// maxWalks is how many groups turns_group is walked for.
const maxWalks = 64

// query returns q as a statement; "" where there is no such turn.
func (s *Store) query(ctx context.Context, q record.Query, after record.Place) (statement string, args []any, err error) {
	c := base(q, after)
	const order = " order by start desc, id desc limit "
	selected := "select " + strings.Join(columns, ", ") + " from keyturn.turns"
	if q.Pool == "" && q.Key == "" && q.Model == "" {
		return selected + c.where() + order + fmt.Sprint(q.Limit+1), c.args, nil
	}
	var of condition
	of.grouped(q)
	rows, err := s.pool.Query(ctx, fmt.Sprintf("select pool, key, asked, answered from keyturn.groups%s limit %d", of.where(), maxWalks+1), of.args...)
	if err != nil {
		return "", nil, err
	}
	groups, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (g group, err error) {
		return g, row.Scan(&g.pool, &g.key, &g.asked, &g.answered)
	})
	switch {
	case err != nil || len(groups) == 0:
		return "", nil, err
	case len(groups) > maxWalks, q.Session != "":
		c.grouped(q)
		return selected + c.where() + order + fmt.Sprint(q.Limit+1), c.args, nil
	}
	// The newest of each group, and the newest of those: the planner, left alone, walks all turns and hopes to meet a rare one soon.
	var walks []string
	for _, g := range groups {
		walk := condition{args: c.args, terms: slices.Clone(c.terms)}
		walk.add("pool = $ and key = $ and asked = $ and answered = $", g.pool, g.key, g.asked, g.answered)
		c.args = walk.args
		walks = append(walks, "("+selected+walk.where()+order+fmt.Sprint(q.Limit+1)+")")
	}
	return "select * from (" + strings.Join(walks, " union all ") + ") as walks" + order + fmt.Sprint(q.Limit+1), c.args, nil
}

// Turns returns a page of those that q selects.
func (s *Store) Turns(ctx context.Context, q record.Query) (record.Page, error) {
	q, after, err := q.Complete()
	if err != nil {
		return record.Page{}, err
	}
	statement, args, err := s.query(ctx, q, after)
	if err != nil || statement == "" {
		return record.NewPage(nil, q.Limit), err
	}
	rows, err := s.pool.Query(ctx, statement, args...)
	if err != nil {
		return record.Page{}, err
	}
	found, err := pgx.CollectRows(rows, readTurn)
	if err != nil {
		return record.Page{}, err
	}
	return record.NewPage(found, q.Limit), nil
}

// Turn returns the newest turn of that id.
func (s *Store) Turn(ctx context.Context, id string) (record.Turn, error) {
	if !record.Possible(id) {
		return record.Turn{}, record.ErrNotFound
	}
	rows, err := s.pool.Query(ctx, "select "+strings.Join(columns, ", ")+" from keyturn.turns where id = $1 order by start desc limit 1", id)
	if err != nil {
		return record.Turn{}, err
	}
	t, err := pgx.CollectExactlyOneRow(rows, readTurn)
	if errors.Is(err, pgx.ErrNoRows) {
		return record.Turn{}, record.ErrNotFound
	}
	if err != nil {
		return record.Turn{}, err
	}
	return *t, nil
}

// Content returns what was said in a turn.
func (s *Store) Content(ctx context.Context, id string) ([]record.Content, error) {
	if !record.Possible(id) {
		return nil, nil
	}
	rows, err := s.pool.Query(ctx, `select kind, turn, call, text, cut, at from keyturn.content where id = $1 and day = (
		select max(day) from keyturn.content where id = $1) order by at, place`, id)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (record.Content, error) {
		c := record.Content{ID: id}
		err := row.Scan(&c.Kind, &c.Turn, &c.Call, &c.Text, &c.Cut, &c.At)
		c.At = c.At.UTC()
		return c, err
	})
}

// Starts returns the starts of requests within a time.
func (s *Store) Starts(ctx context.Context, from, until time.Time, limit int) ([]record.Start, error) {
	rows, err := s.pool.Query(ctx, `select at, id, client, session, pool, method, path from keyturn.starts where at >= $1 and at < $2
		order by at, id limit $3`, record.Ceil(from), record.Ceil(until), limit)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (record.Start, error) {
		var s record.Start
		err := row.Scan(&s.At, &s.ID, &s.Client, &s.Session, &s.Pool, &s.Method, &s.Path)
		s.At = s.At.UTC()
		return s, err
	})
}

// Spend sums up, whole days by the day.
func (s *Store) Spend(ctx context.Context, q record.SpendQuery) ([]record.SpendRow, error) {
	q, err := q.Complete()
	if err != nil {
		return nil, err
	}
	spending := record.NewSpending(q)
	// One transaction: a lot that is written meanwhile is in all of the sums or in none.
	tx, err := s.pool.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return nil, err
	}
	defer func() { _ = tx.Rollback(ctx) }()
	for _, stretch := range q.Stretches() {
		if err := sum(ctx, tx, q, stretch, spending); err != nil {
			return nil, err
		}
	}
	return spending.Rows(), nil
}

func sum(ctx context.Context, tx pgx.Tx, q record.SpendQuery, stretch record.Stretch, spending *record.Spending) error {
	table := "hours"
	switch {
	case stretch.Days:
		table = "days"
	case q.BySession():
		table = "sessions"
	}
	var c condition
	if !stretch.From.IsZero() {
		c.add("at >= $", stretch.From)
	}
	if !stretch.Until.IsZero() {
		c.add("at < $", stretch.Until)
	}
	at := "to_timestamp(0)" // no time: NewSpending has none either
	if q.Every != "" {
		at = "date_trunc('" + string(q.Every) + "', at, 'UTC')"
	}
	selected := []string{at}
	selected = append(selected, q.By...)
	places := make([]string, len(selected))
	for i := range places {
		places[i] = fmt.Sprint(i + 1)
	}
	for _, name := range sums {
		selected = append(selected, "sum("+name+")::bigint")
	}
	rows, err := tx.Query(ctx, fmt.Sprintf("select %s from keyturn.%s%s group by %s limit %d", strings.Join(selected, ", "), table, c.where(),
		strings.Join(places, ", "), record.MaxSpendRows+1), c.args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var at time.Time
		var g record.Group
		var one record.Sum
		into := []any{&at}
		for _, name := range q.By {
			into = append(into, map[string]*string{
				record.ByClient: &g.Client, record.ByPool: &g.Pool, record.ByKey: &g.Key, record.ByModel: &g.Model, record.BySession: &g.Session,
			}[name])
		}
		into = append(into, &one.Turns, &one.Failed, &one.Unknown, &one.Partial, &one.Input, &one.CacheRead, &one.CacheWrite, &one.Output, &one.Reasoning,
			&one.Nano, &one.Unpriced)
		if err := rows.Scan(into...); err != nil {
			return err
		}
		if err := spending.Add(at, g, one); err != nil {
			return err
		}
	}
	return rows.Err()
}
