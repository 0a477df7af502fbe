package extproc

import (
	"slices"
	"time"

	"github.com/keyturn/keyturn/keypool"
)

// maxSeeks bounds the attempts of a request whose state is looked for: an id may be nobody's, and pools have many keys.
const maxSeeks = 4

// seek goes on to the keys of other groups after a refusal that says that this one's does not have what the request names: a response before it,
// or reasoning that only the organisation that made it can decrypt. Nothing was worked on, so trying costs nothing. Where a key of another group
// rests, the client reads when that returns, since the refusal would end its conversation for good.
func (x *exchange) seek(body []byte, k kind, now time.Time) {
	peers := x.pool.keys.Peers(x.key)
	x.tried = append(slices.Clip(x.triedBefore()), peers...)
	x.without = append(slices.Clip(x.without), peers...)
	_, none := x.walk(x.tried).Peek()
	if none == nil && x.attempt < maxSeeks && x.inTime(now) && x.retriable() && x.followed() {
		x.nextAttempt(k)
		return
	}
	if rests := x.walk(x.without).Untried(); none != nil && rests.Kind == keypool.RateLimited && rests.RetryAfter > 0 {
		x.exhaustion = rests
		x.refuse()
		return
	}
	if !x.lost(body) {
		x.surface(k)
	}
}
