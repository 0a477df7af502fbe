package extproc

import (
	"context"
	"log/slog"
)

// want is what a body was for that there was no memory for: the label of keyturn_memory_refusals_total.
type want uint8

const (
	wantRequest want = iota // a request's body, when it was announced
	wantLarger              // one that came late, or larger than it was announced
	wantAnswer              // a whole answer
	wantError               // an error: it was judged by its status alone, and nothing was refused
	wantLater               // the answer of a later turn
	wants
)

var wantNames = [wants]string{"request", "larger", "answer", "error", "later"}

// refused counts a body that there was no memory for, and says so now and then.
func (s *Server) refused(ctx context.Context, pool *bound, w want) {
	pool.metrics.refusals[w].Add(1)
	if n, ok := s.noMemory.due(s.clock.Now()); ok {
		s.log.LogAttrs(ctx, slog.LevelWarn, "a body was not read, since those in work take all the memory that limits.memory leaves them",
			slog.String("pool", pool.name), slog.String("body", wantNames[w]), slog.Int64("bodies", n))
	}
}

// roomFor takes memory for a body that was not foreseen, of so many bytes, for as long as the attempt lasts.
func (s *Server) roomFor(ctx context.Context, a *attempt, w want) func(n int64) bool {
	return func(n int64) bool {
		ok := false
		if a.share.of == nil {
			ok = a.share.announced(ctx, s.budget, n)
		} else {
			ok = a.share.more(ctx, n)
		}
		if !ok {
			s.refused(ctx, a.pool, w)
		}
		return ok
	}
}
