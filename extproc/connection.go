package extproc

import (
	"net/http"
	"sync"
	"time"
)

// crossing is how long ago a request may have left when the end of its connection comes, so that the two have crossed: a server that
// closes a connection on which nothing moves does so before it has read the request, and the end arrives within a round trip.
const crossing = 500 * time.Millisecond

// maxConnections bounds how many connections are remembered, times two.
const maxConnections = 8192

// connections remembers the connections to providers, by their local address, that have carried an answer: one that ends with the next request
// was being closed. It forgets the oldest, and an address that another connection has by now costs a request sent once more.
type connections struct {
	mu       sync.Mutex // protects the fields below
	now, old map[string]struct{}
}

// answered notes that an answer has come over a connection.
func (c *connections) answered(address []byte) {
	if len(address) == 0 || len(address) > maxAddress {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, had := c.now[string(address)]; had {
		return
	}
	if c.now == nil || len(c.now) >= maxConnections {
		c.old, c.now = c.now, make(map[string]struct{}, len(c.now))
	}
	c.now[string(address)] = struct{}{}
}

// maxAddress bounds what is kept of an address, in bytes. One of IPv6 has 47.
const maxAddress = 64

// ended reports whether an answer has come over a connection before, and forgets it: it is no more.
func (c *connections) ended(address []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, now := c.now[string(address)]
	_, old := c.old[string(address)]
	delete(c.now, string(address))
	delete(c.old, string(address))
	return now || old
}

// idempotent reports whether a request may be sent twice whatever became of the first (RFC 9110 section 9.2.2).
func idempotent(method []byte) bool {
	switch string(method) {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodPut, http.MethodDelete:
		return true
	}
	return false
}

// crossed reports whether the request has met the end of a connection that was being closed: one that was used before, and that ended with
// nothing said. What is not idempotent has to have left just then, else a model may have worked on it.
func (x *exchange) crossed(now time.Time) bool {
	return x.local.closed && x.reused && (x.idempotent || now.Sub(x.left) <= crossing)
}
