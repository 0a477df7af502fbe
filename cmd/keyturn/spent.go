package main

import (
	"context"
	"fmt"
	"maps"
	"sync/atomic"
	"time"

	"github.com/keyturn/keyturn/extproc"
	"github.com/keyturn/keyturn/internal/config"
	"github.com/keyturn/keyturn/internal/record"
	"github.com/keyturn/keyturn/internal/record/recorder"
)

// Of an answer whose tokens nobody knows: the provider did not say them, or it was cut before it did.
const (
	bytesPerToken    = 4   // of a request, or of an answer that came whole
	streamPerToken   = 100 // of a stream: each token has an event around it
	mostGuessedInput = 256_000
)

// counting tells the limits of clients what requests have used. It is a record.Writer.
type counting struct {
	kept  *recorder.Recorder // set before anything is written
	spend atomic.Pointer[func(extproc.Spent)]
}

// Write implements record.Writer.
func (c *counting) Write(t *record.Turn, _ []record.Content) {
	if spend := c.spend.Load(); spend != nil {
		(*spend)(c.spent(t))
	}
}

// spent is what a request has used, guessed by its size where nobody knows.
func (c *counting) spent(t *record.Turn) extproc.Spent {
	s := extproc.Spent{ID: t.ID, Client: t.Client, Input: t.Usage.Input, Output: t.Usage.Output, Nano: t.Price.Nano}
	if t.Usage.State == record.Complete || t.Dialect == "" || t.Ending == record.Refused || t.Status >= 400 {
		return s
	}
	per := int64(bytesPerToken)
	if t.Stream {
		per = streamPerToken
	}
	input, output := min(t.BytesIn/bytesPerToken, mostGuessedInput), t.BytesOut/per
	if input <= s.Input && output <= s.Output {
		return s
	}
	s.Input, s.Output = max(s.Input, input), max(s.Output, output)
	guess := *t
	guess.Usage.Input, guess.Usage.Output, guess.Usage.State = s.Input, s.Output, record.Complete
	c.kept.Price(&guess)
	s.Nano = max(s.Nano, guess.Price.Nano)
	return s
}

// restoreTimeout bounds asking a store what clients have used.
const restoreTimeout = 30 * time.Second

// restore tells the limits of clients what the records of this day and month say, where any limit counts that.
func (g *gateway) restore(cfg *config.Config) error {
	counts := false
	for l := range maps.Values(cfg.Clients) {
		counts = counts || l.Counts()
	}
	if g.books == nil || !counts {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), restoreTimeout)
	defer cancel()
	u := extproc.Used{At: time.Now()}
	var err error
	if u.Tokens, err = g.books.sums(ctx, record.Day.Begin(u.At), func(r *record.SpendRow) int64 { return r.Usage.Input + r.Usage.Output }); err != nil {
		return err
	}
	if u.Nano, err = g.books.sums(ctx, record.Month.Begin(u.At), func(r *record.SpendRow) int64 { return r.Nano }); err != nil {
		return err
	}
	g.server.Restore(u)
	return nil
}

// sums are what clients have used since a time, by their names.
func (b *books) sums(ctx context.Context, since time.Time, of func(*record.SpendRow) int64) (map[string]int64, error) {
	rows, err := b.kept.Spend(ctx, record.SpendQuery{From: since, By: []string{record.ByClient}})
	if err != nil {
		return nil, fmt.Errorf("record: what clients have used cannot be read, and clients have limits: %w", err)
	}
	all := make(map[string]int64, len(rows))
	for i := range rows {
		all[rows[i].By[record.ByClient]] += of(&rows[i])
	}
	return all, nil
}
