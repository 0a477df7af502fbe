package extproc

import (
	"cmp"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keyturn/keyturn/internal/dialect"
	"github.com/keyturn/keyturn/internal/wire"
	"github.com/keyturn/keyturn/keypool"
)

// hopped is a step from one pool to another.
type hopped struct {
	from, to *bound
	why      why
}

// isMovable reports whether the request may go on with another pool: one of a dialect, with a body, under the pool's own keys.
func (x *exchange) isMovable(m *message, own []byte) bool {
	return len(x.home.hops) > 0 && own == nil && x.dialect != nil && !x.stored && !m.end && string(m.header(":method")) == "POST"
}

// takesOver makes a pool of the chain the attempt's: 0 is the one that the front names.
func (x *exchange) takesOver(n int) {
	x.hop, x.pool = n, x.home
	if n > 0 {
		h := &x.home.hops[n-1]
		x.pool = h.to
		if x.wanted != "" {
			x.model = h.rename(x.wanted)
		}
	}
}

// next is the number of the pool in the chain that the request goes on with for a reason; 0: there is none.
func (x *exchange) next(because why) int {
	if !x.movable {
		return 0
	}
	for n := x.hop + 1; n <= len(x.home.hops); n++ {
		if h := &x.home.hops[n-1]; h.on[because] && x.servedBy(h.to) {
			return n
		}
	}
	return 0
}

// servedBy reports whether a pool of the chain takes such a request, as far as its headers tell.
func (x *exchange) servedBy(b *bound) bool {
	path, ok := segments(x.rebased(x.came, b))
	return ok && slices.Contains(b.dialects, x.dialect.Name()) && b.endpoints.serve(path) && x.length <= b.maxBody
}

// rebased is a path that came for the first pool as another's provider has it.
func (x *exchange) rebased(path string, b *bound) string {
	if rest, ok := strings.CutPrefix(path, x.home.base); ok && strings.HasPrefix(rest, "/") {
		return b.base + rest
	}
	return path
}

// moveOn has the attempt go on with the next pool of the chain; nothing was sent yet. It returns false where there is none.
func (x *exchange) moveOn(because why) bool {
	n := x.next(because)
	if n == 0 {
		return false
	}
	from := x.pool
	x.takesOver(n)
	x.steps = append(x.steps, hopped{from, x.pool, because})
	return true
}

// fallBack asks the front for an attempt with the next pool of the chain. It reports whether there is to be one.
func (x *exchange) fallBack(because why, k kind, now time.Time) bool {
	n := x.next(because)
	if n == 0 || !x.retriable() || because != whyExhausted && !x.followed() {
		return false
	}
	if because == whyUnreachable { // the time in which it could not be reached counts for nothing
		x.away = x.before.away + now.Sub(x.began)
	}
	if !x.inTime(now) {
		return false
	}
	x.goTo = n
	x.steps = append(x.steps, hopped{x.pool, x.home.hops[n-1].to, because})
	x.nextAttempt(k)
	return true
}

// fallBackAtBody is fallBack before anything was sent to a provider: its answer is one that the front does not hand on. x.exhaustion says why.
func (x *exchange) fallBackAtBody() bool {
	n := x.next(whyExhausted)
	if n == 0 || !x.counted || x.retries < 0 || !x.retriable() {
		return false
	}
	x.goTo = n
	x.steps = append(x.steps, hopped{x.pool, x.home.hops[n-1].to, whyExhausted})
	x.outcome = turned
	x.mut.reset()
	x.mut.set(wire.RetryHeader, "", "1")
	x.dyn.text(wire.ExhaustedField, x.exhaustion.Kind.String())
	x.done = true
	x.tellUsed()
	_, e := exhaustionError(x.exhaustion)
	x.mut.set("content-type", "", "application/json")
	x.mut.set(wire.ErrorHeader, "", x.exhaustion.Kind.String())
	x.out.immediate(503, &x.mut, dialect.ErrorBody(x.errors(), e), wire.DetailsPrefix+"fallback", x.ended())
	return true
}

// beginElsewhere prepares the attempt for a pool of the chain beside the first: which path it has, and that the body is read.
func (x *exchange) beginElsewhere(m *message) {
	x.sent = x.rebased(x.came, x.pool)
	if model(x.sent) != "" {
		x.sent = withModel(x.sent, x.model)
	}
	x.path = withoutQuery(x.sent)
	if x.home.header != x.pool.header {
		x.mut.remove(x.home.header)
	}
	x.body = &coded{header: m.joined("content-encoding")}
}

// move makes the body at hand one for the attempt's pool. It returns false when it has answered in the provider's place.
func (x *exchange) move(m *message) bool {
	switch {
	case x.body.err != nil:
		x.cannotMove("its content-encoding cannot be taken off, or more comes of it than max_body")
		return false
	case int64(len(m.body)) > x.pool.maxBody:
		x.cannotMove("it is larger than max_body (" + strconv.FormatInt(x.pool.maxBody, 10) + " bytes)")
		return false
	}
	body := x.body.of(m.body)
	moved, model, state := dialect.Move(x.dialect, body, x.home.hops[x.hop-1].rename)
	if state != "" {
		x.cannotMove("it has something that only the provider knows that made it (" + state + ")")
		return false
	}
	if x.model == "" {
		x.model = model
		x.describeModel()
	}
	if x.body.codes() || len(moved) > 0 && &moved[0] != &body[0] {
		x.moved = moved
	}
	if x.tools != nil {
		x.tools.coded = *x.body
		x.tools.coded.plain = moved
	}
	return true
}

// passMoved sends the request on to the attempt's pool: its body as it came, where nothing of it has changed.
func (x *exchange) passMoved(m *message) {
	if x.moved == nil {
		x.out.pass(m.kind, &x.mut, modes{}, &x.dyn)
		return
	}
	if x.body.codes() {
		x.mut.remove("content-encoding")
	}
	x.mut.number("content-length", len(x.moved))
	x.out.body(m.kind, &x.mut, x.moved, &x.dyn)
}

// cannotMove answers the client in the provider's place: the pools before this one cannot serve the request, and this one may not.
func (x *exchange) cannotMove(because string) {
	x.outcome = surfaced
	if x.walker != nil {
		x.walker.Release()
	}
	x.mut.reset()
	status, kind := 503, "api_error"
	said := "could not serve the request"
	if e := x.exhaustionBefore(); e != nil {
		x.exhaustion = e
		said += " (" + e.Error() + ")"
		if e.Kind == keypool.RateLimited {
			status, kind = 429, "rate_limit_error"
			x.retryAfter(e.RetryAfter)
		}
	}
	x.instead(status, "fallback_impossible", dialect.Error{
		Type: kind, Code: "fallback_impossible",
		Message: "The pool " + x.home.name + " " + said + ", and it cannot go on to " + x.pool.name + ": " + because + ".",
	})
}

// exhaustionBefore is why none of the chain's pools up to the attempt's, without it, can be used now: of those with a limit, the one that ends first. Nil: one could be.
func (x *exchange) exhaustionBefore() (first *keypool.Error) {
	for n := range x.hop {
		b, model := x.home, x.wanted
		if n > 0 {
			b, model = x.home.hops[n-1].to, x.home.hops[n-1].rename(model)
		}
		if b.keys == nil {
			continue
		}
		if _, e := b.keys.Walker().For(model).Peek(); e != nil && earlier(e, first) {
			first = e
		}
	}
	return first
}

// exhaustionOfAll is what the client is told when no pool of the chain is left: x.exhaustion is the last one's.
func (x *exchange) exhaustionOfAll() *keypool.Error {
	if x.hop == 0 {
		return x.exhaustion
	}
	if first := x.exhaustionBefore(); first != nil && earlier(first, x.exhaustion) {
		return first
	}
	return x.exhaustion
}

// earlier reports whether a pool is back before another.
func earlier(a, b *keypool.Error) bool {
	limited := func(e *keypool.Error) bool { return e.Kind == keypool.RateLimited }
	switch {
	case b == nil:
		return true
	case limited(a) != limited(b):
		return limited(a)
	}
	return limited(a) && cmp.Compare(a.RetryAfter, b.RetryAfter) < 0
}

// triedBefore are the keys of the attempt's pool that the request has used.
func (x *exchange) triedBefore() []string {
	if x.hop != x.before.hop {
		return nil
	}
	return x.before.tried
}

// route is how the request came to the attempt's pool, for the log: the pools that it was passed on by, each with the reason.
func (x *exchange) route() string {
	var b strings.Builder
	b.WriteString(x.before.route)
	for _, s := range x.steps {
		if b.Len() > 0 {
			b.WriteString(", ")
		}
		b.WriteString(s.from.name + " " + Fallbacks[s.why])
	}
	return wire.Clip(b.String(), maxNoted)
}

// withModel is a path that names a model with another in its place: see model.
func withModel(path, model string) string {
	before, query, has := strings.Cut(path, "?")
	for _, mark := range []struct{ under, end string }{{"/deployments/", "/"}, {"/model/", "/"}, {"/models/", ":"}} {
		head, after, ok := strings.Cut(before, mark.under)
		if !ok {
			continue
		}
		if i := strings.Index(after, mark.end); i >= 0 {
			before = head + mark.under + url.PathEscape(model) + after[i:]
			break
		}
	}
	if has {
		before += "?" + query
	}
	return before
}
