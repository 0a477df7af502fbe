package sqlite

import (
	"slices"
	"strings"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/keyturn/keyturn/internal/record"
)

// condition is what a query asks of turns in SQL.
type condition struct {
	terms []string
	args  []any
	index string
}

func (c *condition) add(term string, args ...any) {
	c.terms, c.args = append(c.terms, term), append(c.args, args...)
}

// base returns all of q in SQL but what by_group is for. Which index to walk is said rather than guessed: SQLite has no statistics of a file that
// is being written.
func base(q record.Query, after record.Place) condition {
	c := condition{index: "by_start"}
	if !q.From.IsZero() {
		c.add("start >= ?", ceil(q.From))
	}
	if !q.Until.IsZero() {
		c.add("start < ?", ceil(q.Until))
	}
	if q.After != "" {
		at := after.Start.UnixMicro()
		c.add("start <= ? and (start < ? or id < ?)", at, at, after.ID)
	}
	if from, to := q.StatusRange(); from != 0 {
		c.add("status between ? and ?", int64(from), int64(to))
	}
	if q.ErrorClass != "" {
		c.add("error_class = ?", q.ErrorClass)
	}
	if q.Failed {
		c.add("error_class <> ''")
	}
	if q.WithTools {
		c.index = "by_calls"
		c.add("calls > 0")
	}
	if q.Client != "" { // an index that leaves values out has to be told that they are not wanted
		c.index = "by_client"
		c.add("client = ? and client <> ''", q.Client)
	}
	if q.Odd() {
		c.index = "by_odd"
		c.add("odd = 1")
	}
	if q.Session != "" {
		c.index = "by_session"
		c.add("session_hash = ? and session_hash <> 0 and session = ?", hash(q.Session), q.Session)
	}
	return c
}

// grouped returns what q asks of groups.
func grouped(q record.Query) (c condition) {
	if q.Pool != "" {
		c.add("pool = ?", q.Pool)
	}
	if q.Key != "" {
		c.add("key = ?", q.Key)
	}
	if q.Model != "" {
		c.add("(asked = ? or answered = ?)", q.Model, q.Model)
	}
	return c
}

// maxWalks is how many groups a file's by_group is walked for.
const maxWalks = 64

// conditions returns q in SQL for a file: one condition, or several whose answers have nothing in common; none where the file has no such turn.
func conditions(conn *sqlite.Conn, q record.Query, after record.Place) ([]condition, error) {
	c, of := base(q, after), grouped(q)
	if len(of.terms) == 0 {
		return []condition{c}, nil
	}
	var groups []group
	err := rows(conn, "select pool, key, asked, answered from groups"+of.where()+" limit ?", append(of.args, int64(maxWalks+1)), func(stmt *sqlite.Stmt) error {
		var g group
		(&columnReader{stmt: stmt}).text(&g.pool, &g.key, &g.asked, &g.answered)
		groups = append(groups, g)
		return nil
	})
	if err != nil || len(groups) == 0 {
		return nil, err
	}
	if len(groups) > maxWalks || c.index != "by_start" && c.index != "by_calls" {
		c.terms, c.args = append(c.terms, of.terms...), append(c.args, of.args[:len(of.args):len(of.args)]...)
		return []condition{c}, nil
	}
	all := make([]condition, len(groups))
	for i, g := range groups {
		all[i] = condition{terms: slices.Clone(c.terms), args: slices.Clone(c.args), index: "by_group"}
		all[i].add("pool = ? and key = ? and asked = ? and answered = ?", g.pool, g.key, g.asked, g.answered)
	}
	return all, nil
}

// ceil is the first microsecond that is not before t.
func ceil(t time.Time) int64 { return record.Ceil(t).UnixMicro() }

func (c condition) where() string {
	if len(c.terms) == 0 {
		return ""
	}
	return " where " + strings.Join(c.terms, " and ")
}
