package extproc

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keyturn/keyturn/internal/agent"
	"github.com/keyturn/keyturn/internal/dialect"
	"github.com/keyturn/keyturn/internal/wire"
	"github.com/keyturn/keyturn/keypool"
)

// requestHeaders chooses the key, puts it in the client's credential's place, and says where the request goes.
func (x *exchange) requestHeaders(m *message, now time.Time) {
	x.read(m, now)
	if x.home = x.pools.byName[string(x.front.pool)]; x.home == nil {
		x.unknownPool()
		return
	}
	x.pool = x.home
	if !x.admits(m) {
		return
	}
	if !x.pool.webSocket && x.dialect == dialect.Responses && isWebSocket(m) {
		x.noWebSocket()
		return
	}
	own := x.pool.ownCredential(m)
	x.came = x.clean(m, own != nil)
	if x.movable = x.isMovable(m, own); x.movable && x.before.hop <= len(x.home.hops) {
		x.takesOver(x.before.hop)
	}
	if own == nil {
		x.talk, x.named = x.conversation(m)
		if !x.choose() {
			x.describe()
			x.refuse()
			return
		}
	}
	mode := modes{}
	if x.hop > 0 {
		mode = modes{set: true, request: bodyBuffered}
		x.beginElsewhere(m)
	}
	if x.wantsTools(m) {
		mode = modes{set: true, request: bodyBuffered}
		x.remember(m, own)
	}
	x.mut.wire = append(x.mut.wire, x.pool.destination...)
	if x.pool.authority != "" {
		x.authority = append(x.authority[:0], x.pool.authority...)
	}
	if own != nil {
		x.bodyMode = mode.request
		x.passOwn(m, own, mode)
		return
	}
	x.replaceCredential(m)
	x.bodyMode = mode.request
	x.bounded()
	x.describe()
	x.out.pass(m.kind, &x.mut, mode, &x.dyn)
}

// choose takes a key of the attempt's pool, or where it has none that can be used, of the next of the chain. It returns false where none is left.
func (x *exchange) choose() bool {
	for x.pool.keys != nil {
		x.walker = x.walk(x.triedBefore())
		if x.key, x.exhaustion = x.walker.Next(); x.exhaustion == nil {
			break
		}
		if !x.moveOn(whyExhausted) {
			return false
		}
	}
	return true
}

// bounded has Envoy give up a provider that does not begin its answer in time, where the request may go on with another.
func (x *exchange) bounded() {
	if x.pool.wait > 0 && x.next(whyUnreachable) > 0 {
		x.mut.set(wire.TryTimeoutHeader, "", strconv.FormatInt(x.pool.wait.Milliseconds(), 10))
	}
}

// read takes what the headers tell of the request.
func (x *exchange) read(m *message, now time.Time) {
	path := string(m.header(":path"))
	x.dialect, x.model, x.stored = dialect.Of(path), model(path), stored(path)
	x.path, _, _ = strings.Cut(path, "?")
	x.wanted = x.model
	x.doubted, x.without = x.before.doubted, x.before.without
	x.laterTurn = len(x.front.turn) > 0
	if x.laterTurn && x.model == "" { // the first turn's attempt has read the body
		x.model = agent.ModelOf(string(m.header(wire.ModelHeader)))
		x.wanted = x.model
	}
	x.id = append(x.id[:0], x.front.id...)
	x.authority = append(x.authority[:0], m.header(":authority")...)
	if x.asked = append(x.asked[:0], m.header(wire.OriginalPathHeader)...); len(x.asked) == 0 {
		x.asked = append(x.asked, path...)
	}
	x.retries = x.front.retries
	x.length = contentLength(m)
	if m.end {
		x.length = 0
	}
	x.began, x.started, x.left = now, now, now
	x.idempotent = idempotent(m.header(":method"))
	if x.attempt = x.front.attempt; x.attempt == 0 {
		x.attempt = x.before.attempt + 1
	} else {
		x.counted = true
	}
	switch {
	case !x.before.started.IsZero():
		x.started = x.before.started
	case x.front.attempt != 1: // what the attempts before left is lost, or this is the first
		x.started = x.front.started(now)
	}
}

// isWebSocket reports whether a request asks for a WebSocket, by HTTP/1 or, as Envoy translates it, HTTP/2 (RFC 6455, RFC 8441).
func isWebSocket(m *message) bool {
	return slices.ContainsFunc(strings.Split(m.joined("upgrade"), ","), func(protocol string) bool {
		return strings.EqualFold(strings.TrimSpace(protocol), "websocket")
	})
}

// passOwn leaves the client its own credential for the provider.
func (x *exchange) passOwn(m *message, own []byte, mode modes) {
	x.outcome = foreign
	x.own, x.presented = []byte(keypool.Mask(string(own))), bytes.Clone(own)
	x.mut.remove(wire.RequestIDHeader)
	for _, name := range wire.Secrets { // unseen, since Envoy keeps them from Keyturn: the gateway's cookies are none of the provider's business
		x.mut.remove(name)
	}
	if x.tools != nil {
		x.unencoded()
	}
	x.setPath(m, own)
	x.describe()
	x.out.pass(m.kind, &x.mut, mode, &x.dyn)
}

// unencoded asks the provider for bodies that can be read. Without the header any coding would do (RFC 9110, section 12.5.3).
func (x *exchange) unencoded() { x.mut.set("accept-encoding", "", "identity") }

// contentLength is in bytes; -1 when it is unknown.
func contentLength(m *message) int64 {
	n, err := strconv.ParseUint(string(m.header("content-length")), 10, 63)
	if err != nil {
		return -1
	}
	return int64(n)
}

// walk begins at the pool's first key, leaving out the ids in tried.
func (x *exchange) walk(tried []string) *keypool.Walker {
	w := x.pool.keys.Walker(tried...).For(x.model).Of(x.talk)
	if x.stored {
		w = w.WithinFirstGroup()
	}
	return w
}

// replaceCredential puts the key, if there is one, in the place of what the client sent.
func (x *exchange) replaceCredential(m *message) {
	x.mut.wire = append(x.mut.wire, x.pool.requestRemovals...)
	x.unencoded() // errors are read, on any path
	if x.key != nil {
		x.mut.set(x.pool.header, x.pool.prefix, x.key.Secret())
	}
	x.setPath(m, nil)
}

// setPath says which path the provider gets, where it is another than the client's.
func (x *exchange) setPath(m *message, own []byte) {
	if x.hop > 0 {
		x.mut.set(":path", "", x.sent)
		return
	}
	path := string(m.header(":path"))
	clean, _ := splitQuery(path, func(credential string) bool { return own != nil && !x.pool.placeholders[credential] })
	if clean = x.continued(clean, own); clean != path {
		x.mut.set(":path", "", clean)
	}
}
