package record

import (
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Bounds of a Query and of a SpendQuery.
const (
	DefaultLimit = 50
	MaxLimit     = 1000

	// MaxSpendRows bounds the rows of one answer of Reader.Spend.
	MaxSpendRows = 100_000
)

// ErrBadQuery is what a Reader returns for a question that cannot be asked; the error that wraps it says why.
var ErrBadQuery = errors.New("bad query")

// ErrTooMuch is what Reader.Spend returns where its answer would have more than MaxSpendRows rows.
var ErrTooMuch = fmt.Errorf("%w: the answer has more than %d rows; ask for less time or longer spans", ErrBadQuery, MaxSpendRows)

// Place is where a turn stands in the order of turns.
type Place struct {
	Start time.Time
	ID    string
}

// Place returns where t stands.
func (t *Turn) Place() Place { return Place{t.Start, t.ID} }

// Compare is negative where p is older than o.
func (p Place) Compare(o Place) int {
	return cmp.Or(p.Start.Compare(o.Start), strings.Compare(p.ID, o.ID))
}

// Cursor is the place in a form for Query.After.
func (p Place) Cursor() string {
	return base64.RawURLEncoding.EncodeToString([]byte(strconv.FormatInt(p.Start.UnixMicro(), 10) + "." + p.ID))
}

// place reads what Cursor wrote.
func place(cursor string) (Place, error) {
	b, err := base64.RawURLEncoding.DecodeString(cursor)
	at, id, found := strings.Cut(string(b), ".")
	micro, numErr := strconv.ParseInt(at, 10, 64)
	if err != nil || !found || numErr != nil || !Possible(id) {
		return Place{}, fmt.Errorf("%w: after is no place in a list; take it from the page before", ErrBadQuery)
	}
	return Place{time.UnixMicro(micro).UTC(), id}, nil
}

// Complete returns q with its defaults, and where the page that it asks for begins: the zero Place for the newest turn.
func (q Query) Complete() (Query, Place, error) {
	switch {
	case q.Limit < 0 || q.Limit > MaxLimit:
		return q, Place{}, fmt.Errorf("%w: found limit %d; ask for 1 to %d", ErrBadQuery, q.Limit, MaxLimit)
	case q.Status != 0 && (q.Status < 1 || q.Status > 5) && (q.Status < 100 || q.Status > 599):
		return q, Place{}, fmt.Errorf("%w: found status %d; ask for 100 to 599, or for 1 to 5 for a hundred of them", ErrBadQuery, q.Status)
	}
	for _, s := range []string{q.Client, q.Session, q.Pool, q.Key, q.Model, q.ErrorClass} {
		if !Possible(s) {
			return q, Place{}, fmt.Errorf("%w: found a value that no turn has: longer than %d bytes, or no text", ErrBadQuery, MaxName)
		}
	}
	q.Limit = cmp.Or(q.Limit, DefaultLimit)
	if q.After == "" {
		return q, Place{}, nil
	}
	at, err := place(q.After)
	return q, at, err
}

// StatusRange returns the statuses that q selects, both ends included; 0 and 0 for all.
func (q Query) StatusRange() (from, to int) {
	if q.Status >= 1 && q.Status <= 5 {
		return q.Status * 100, q.Status*100 + 99
	}
	return q.Status, q.Status
}

// Selects says whether q selects t, whatever the page.
func (q Query) Selects(t *Turn) bool {
	from, to := q.StatusRange()
	switch {
	case !q.From.IsZero() && t.Start.Before(q.From), !q.Until.IsZero() && !t.Start.Before(q.Until),
		q.Client != "" && q.Client != t.Client, q.Session != "" && q.Session != t.Session,
		q.Pool != "" && q.Pool != t.Pool, q.Key != "" && q.Key != t.Key,
		q.Model != "" && q.Model != t.Asked && q.Model != t.Answered,
		from != 0 && (t.Status < from || t.Status > to),
		q.ErrorClass != "" && q.ErrorClass != t.ErrorClass, q.Failed && t.ErrorClass == "", q.WithTools && len(t.Calls) == 0:
		return false
	}
	return true
}

// NewPage makes a page of limit turns out of more, which are in any order and may be more than limit.
func NewPage(turns []*Turn, limit int) Page {
	slices.SortFunc(turns, func(a, b *Turn) int { return b.Place().Compare(a.Place()) })
	var p Page
	if len(turns) > limit {
		turns = turns[:limit]
		p.Next = turns[limit-1].Place().Cursor()
	}
	p.Turns = make([]Turn, len(turns))
	for i, t := range turns {
		p.Turns[i] = *t
	}
	return p
}

// The names of SpendQuery.By.
const (
	ByClient  = "client"
	ByPool    = "pool"
	ByKey     = "key"
	ByModel   = "model" // that answered, or the one asked for where the answer did not say
	BySession = "session"
)

// SpendNames are the names of SpendQuery.By.
var SpendNames = []string{ByClient, ByPool, ByKey, ByModel, BySession}

// Complete returns q with its times in UTC.
func (q SpendQuery) Complete() (SpendQuery, error) {
	for i, name := range q.By {
		if !slices.Contains(SpendNames, name) {
			return q, fmt.Errorf("%w: found %.64q to sum up by; name %s", ErrBadQuery, name, strings.Join(SpendNames, ", "))
		}
		if slices.Contains(q.By[:i], name) {
			return q, fmt.Errorf("%w: %s is named twice", ErrBadQuery, name)
		}
	}
	switch q.Every {
	case "", Hour, Day, Month:
	default:
		return q, fmt.Errorf("%w: found span %.64q; ask for hour, day or month", ErrBadQuery, string(q.Every))
	}
	q.From, q.Until = q.From.UTC(), q.Until.UTC()
	if !q.From.Equal(q.From.Truncate(time.Hour)) || !q.Until.Equal(q.Until.Truncate(time.Hour)) {
		return q, fmt.Errorf("%w: spend is known by the hour; begin and end at a whole one", ErrBadQuery)
	}
	return q, nil
}

// Begin returns the beginning of the span that t is in, in UTC; the zero time for "".
func (s Span) Begin(t time.Time) time.Time {
	t = t.UTC()
	switch s {
	case Hour:
		return t.Truncate(time.Hour)
	case Day:
		return DayOf(t)
	case Month:
		return time.Date(t.Year(), t.Month(), 1, 0, 0, 0, 0, time.UTC)
	}
	return time.Time{}
}

// DayOf returns the beginning of t's day in UTC.
func DayOf(t time.Time) time.Time {
	y, m, d := t.UTC().Date()
	return time.Date(y, m, d, 0, 0, 0, 0, time.UTC)
}

// Ceil returns the first instant that a store knows, in whole microseconds, that is not before t.
func Ceil(t time.Time) time.Time { return t.UTC().Add(time.Microsecond - 1).Truncate(time.Microsecond) }
