package record

import (
	"cmp"
	"slices"
	"time"
)

// Group is what turns have in common that are summed up together.
type Group struct{ Client, Pool, Key, Model, Session string }

// GroupOf returns the group of t.
func GroupOf(t *Turn) Group {
	return Group{Client: t.Client, Pool: t.Pool, Key: t.Key, Model: cmp.Or(t.Answered, t.Asked), Session: t.Session}
}

// Of returns the value of one of SpendNames.
func (g Group) Of(name string) string {
	switch name {
	case ByClient:
		return g.Client
	case ByPool:
		return g.Pool
	case ByKey:
		return g.Key
	case ByModel:
		return g.Model
	case BySession:
		return g.Session
	}
	return ""
}

// Sum is what a number of turns cost together.
type Sum struct {
	Turns, Failed int64
	// Unknown are those of Turns whose usage nobody knows though they may have reached a provider, Partial those that know a part of it.
	Unknown, Partial int64
	// The tokens, as in Usage.
	Input, CacheRead, CacheWrite, Output, Reasoning int64
	Nano                                            int64 // billionths of a US dollar
	Unpriced                                        int64 // tokens without a price
}

// SumOf returns what t alone cost.
func SumOf(t *Turn) Sum {
	s := Sum{
		Turns: 1, Input: t.Usage.Input, CacheRead: t.Usage.CacheRead, CacheWrite: t.Usage.CacheWrite, Output: t.Usage.Output,
		Reasoning: t.Usage.Reasoning, Nano: t.Price.Nano, Unpriced: t.Price.Unpriced,
	}
	if t.ErrorClass != "" {
		s.Failed = 1
	}
	switch {
	case t.Usage.State == Partial:
		s.Partial = 1
	case t.Usage.State == Unknown && t.Ending != Refused:
		s.Unknown = 1
	}
	return s
}

// Add adds o to s.
func (s *Sum) Add(o Sum) {
	s.Turns += o.Turns
	s.Failed += o.Failed
	s.Unknown += o.Unknown
	s.Partial += o.Partial
	s.Input += o.Input
	s.CacheRead += o.CacheRead
	s.CacheWrite += o.CacheWrite
	s.Output += o.Output
	s.Reasoning += o.Reasoning
	s.Nano += o.Nano
	s.Unpriced += o.Unpriced
}

// usage is the tokens of s, complete when they are of all its turns.
func (s Sum) usage() Usage {
	u := Usage{Input: s.Input, CacheRead: s.CacheRead, CacheWrite: s.CacheWrite, Output: s.Output, Reasoning: s.Reasoning, State: Complete}
	switch {
	case s.Unknown == s.Turns:
		u.State = Unknown
	case s.Unknown+s.Partial > 0:
		u.State = Partial
	}
	return u
}

// Stretch is a time of which a store sums up one kind of its sums. Zero times have no end.
type Stretch struct {
	Days        bool // sums of whole days, else of hours
	From, Until time.Time
}

// Stretches returns how to sum q, which is complete, up from as few sums as there are: whole days by the day, where nobody asks for hours or
// sessions.
func (q SpendQuery) Stretches() []Stretch {
	first, last := DayOf(q.From.Add(24*time.Hour-1)), DayOf(q.Until)
	if q.From.IsZero() {
		first = q.From
	}
	if q.Until.IsZero() {
		last = q.Until
	}
	if q.Every == Hour || q.BySession() || !q.Until.IsZero() && !first.Before(last) {
		return []Stretch{{From: q.From, Until: q.Until}}
	}
	all := []Stretch{{true, first, last}}
	if first.After(q.From) {
		all = append(all, Stretch{false, q.From, first})
	}
	if last.Before(q.Until) {
		all = append(all, Stretch{false, last, q.Until})
	}
	return all
}

// BySession says whether q sums up by session.
func (q SpendQuery) BySession() bool { return slices.Contains(q.By, BySession) }

// bucket is a row of spend before it is one.
type bucket struct {
	at    time.Time
	group Group
}

// Spending sums up for a SpendQuery, from what turns or hours cost.
type Spending struct {
	q    SpendQuery
	rows map[bucket]*Sum
}

// NewSpending returns an empty sum for q, which is complete.
func NewSpending(q SpendQuery) *Spending {
	return &Spending{q: q, rows: map[bucket]*Sum{}}
}

// Add adds what a group cost in the hour, the day or the month that begins at at, all of which lies within the query's time. It
// returns ErrTooMuch when there are more rows than one answer may have.
func (s *Spending) Add(at time.Time, g Group, sum Sum) error {
	b := bucket{at: s.q.Every.Begin(at)}
	for _, name := range s.q.By {
		switch name {
		case ByClient:
			b.group.Client = g.Client
		case ByPool:
			b.group.Pool = g.Pool
		case ByKey:
			b.group.Key = g.Key
		case ByModel:
			b.group.Model = g.Model
		case BySession:
			b.group.Session = g.Session
		}
	}
	row := s.rows[b]
	if row == nil {
		if len(s.rows) >= MaxSpendRows {
			return ErrTooMuch
		}
		row = &Sum{}
		s.rows[b] = row
	}
	row.Add(sum)
	return nil
}

// Rows returns the rows: by time, and within it what cost most before what cost less.
func (s *Spending) Rows() []SpendRow {
	rows := make([]SpendRow, 0, len(s.rows))
	for b, sum := range s.rows {
		row := SpendRow{
			At: b.at, Turns: sum.Turns, Failed: sum.Failed, Usage: sum.usage(), Nano: sum.Nano, Unpriced: sum.Unpriced,
			By: make(map[string]string, len(s.q.By)),
		}
		for _, name := range s.q.By {
			row.By[name] = b.group.Of(name)
		}
		rows = append(rows, row)
	}
	slices.SortFunc(rows, func(a, b SpendRow) int {
		order := cmp.Or(a.At.Compare(b.At), cmp.Compare(b.Nano, a.Nano), cmp.Compare(b.Turns, a.Turns))
		for _, name := range s.q.By {
			order = cmp.Or(order, cmp.Compare(a.By[name], b.By[name]))
		}
		return order
	})
	return rows
}
