package extproc

import (
	"strconv"
	"time"

	"github.com/keyturn/keyturn/internal/agent"
	"github.com/keyturn/keyturn/internal/dialect"
	"github.com/keyturn/keyturn/keypool"
)

// requestHeaders chooses the key and puts it in the client's credential's place.
func (x *exchange) requestHeaders(m *message, now time.Time) {
	x.pool = x.pools.byCluster[string(m.cluster)]
	mode := x.requestModes(m)
	if x.pool == nil {
		x.bodyMode = mode.request
		x.outcome = foreign
		x.out.pass(m.kind, nil, mode, nil)
		return
	}
	x.read(m, now)
	own := x.pool.ownCredential(m)
	switch {
	case x.wantsTools(m, mode):
		mode = modes{set: true, request: bodyBuffered}
		x.remember(m, own != nil)
	case x.rewritten && !m.end && !mode.skipResponseHeaders:
		mode = modes{set: true, request: bodyBuffered}
	}
	x.bodyMode = mode.request
	for i := range m.headers {
		if internalHeader(m.headers[i].name) {
			x.mut.removeBytes(m.headers[i].name)
		}
	}
	if own != nil {
		x.passOwn(m, own, mode)
		return
	}
	x.client = string(m.metadata.client)
	x.walker = x.walk(x.tried)
	x.key, x.exhaustion = x.walker.Next()
	if x.exhaustion != nil {
		x.refuse()
		return
	}
	if mode.skipResponseHeaders {
		x.outcome = unwatched
	}
	x.setCredential(m)
	x.describe()
	x.out.pass(m.kind, &x.mut, mode, &x.dyn)
}

// read takes what the headers and the metadata tell of the request.
func (x *exchange) read(m *message, now time.Time) {
	path := string(m.header(":path"))
	x.dialect, x.model, x.stored = dialect.Of(path), model(path), stored(path)
	x.laterTurn, x.rewritten = len(m.metadata.turn) > 0, len(m.metadata.rewritten) > 0
	if x.laterTurn { // the first turn's attempt has read the body
		x.model = agent.ModelOf(string(m.header(modelHeader)))
	}
	x.tried, x.attempt = string(m.metadata.tried), int(m.metadata.attempt)+1
	x.began, x.started = now, now
	if x.attempt > 1 {
		x.started = time.UnixMilli(int64(m.metadata.started))
	}
}

// passOwn leaves the client its own credential for the provider.
func (x *exchange) passOwn(m *message, own []byte, mode modes) {
	x.outcome = foreign
	x.client = ownClient(own)
	x.mut.remove("x-request-id")
	for _, name := range credentials { // beside the client's own
		if x.pool.placeholders[string(m.credential(name))] {
			x.mut.remove(name)
		}
	}
	path := string(m.header(":path"))
	if clean := x.continued(path); clean != path {
		x.mut.set(":path", "", clean)
	}
	x.dyn.text("pool", x.pool.name)
	x.dyn.text("kind", "byok")
	x.dyn.text("key", keypool.Mask(string(own)))
	x.out.pass(m.kind, &x.mut, mode, &x.dyn)
}

// requestModes is what Envoy must send, or leave out, for this request not to end it. Envoy 1.40 crashes when the provider
// answers before it has the whole request while the response's headers are sent here; so the request is whole first, by the
// route's buffer filter or by ext_proc, or else the response's headers stay in Envoy.
func (x *exchange) requestModes(m *message) modes {
	if len(m.header("upgrade")) > 0 { // a request that never ends
		return modes{set: true, skipResponseHeaders: true}
	}
	if m.end || x.promised == promiseBuffered {
		return modes{}
	}
	if x.promised == promiseStreamed || contentLength(m) > x.bodyLimit {
		return modes{set: true, skipResponseHeaders: true}
	}
	return modes{set: true, request: bodyBuffered}
}

// contentLength is in bytes; 0 when it is unknown.
func contentLength(m *message) int64 {
	n, err := strconv.ParseInt(string(m.header("content-length")), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// walk begins at the pool's first key, leaving out the ids in tried.
func (x *exchange) walk(tried string) *keypool.Walker {
	w := x.pool.keys.Walker(splitIDs(tried)...).For(x.model)
	if x.stored {
		w = w.WithinFirstGroup()
	}
	return w
}

func (x *exchange) setCredential(m *message) {
	x.mut.wire = append(x.mut.wire, x.pool.requestRemovals...)
	if x.dialect != dialect.None {
		x.mut.remove("accept-encoding") // error bodies are read, and streams will be
	}
	x.mut.set(x.pool.header, x.pool.prefix, x.key.Secret())
	path := string(m.header(":path"))
	clean := path
	if x.pool.queryKey {
		clean = withoutKey(clean)
	}
	if clean = x.continued(clean); clean != path {
		x.mut.set(":path", "", clean)
	}
}

// describe leaves in Envoy's dynamic metadata what the next attempt and the access log need.
func (x *exchange) describe() {
	if x.tried == "" {
		x.dyn.text("tried", x.key.ID())
	} else {
		x.dyn.text("tried", x.tried, ",", x.key.ID())
	}
	x.dyn.number("attempt", float64(x.attempt))
	x.dyn.number("started", float64(x.started.UnixMilli()))
	x.dyn.text("pool", x.pool.name)
	x.dyn.text("kind", "centralized")
	x.dyn.text("key", x.key.Hint())
	x.dyn.text("key_name", x.key.Name())
	x.dyn.text("key_id", x.key.ID())
}
