package extproc

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"

	"github.com/keyturn/keyturn/internal/redact"
	"github.com/keyturn/keyturn/internal/wire"
	"github.com/keyturn/keyturn/keypool"
)

// A provider, or a proxy before it, may repeat a request in its answer, and the key with it. No client is to read it there.

// echo is where in an answer a key was found: the label of keyturn_key_pool_echoes_total.
type echo uint8

const (
	echoHeader echo = iota
	echoBody
	echoes
)

var echoNames = [echoes]string{"header", "body"}

// secretsOf are the values that no answer of the pool may show.
func secretsOf(p *Pool) *redact.Set {
	secrets := p.Secrets
	if secrets == nil && p.Keys != nil {
		for _, k := range p.Keys.Snapshot() {
			if key, known := p.Keys.Key(k.Name); known {
				secrets = append(secrets, key.Secret())
			}
		}
	}
	return redact.New(secrets)
}

// minOwn is how long a client's own credential is at least that is looked for in headers.
const minOwn = 8

// echoed reports whether the value of a header holds a key: one of the pool's, or the client's own, which would get into the log.
func (x *exchange) echoed(value []byte) bool {
	return x.pool.secrets.In(value) || len(x.presented) >= minOwn && bytes.Contains(value, x.presented)
}

// shown is what a provider said, as the log may have it.
func (b *bound) shown(text string) string {
	plain := []byte(text)
	b.secrets.Blank(plain)
	return string(plain)
}

// withoutEchoes takes the headers of an answer, or its trailers, that hold a key out of it.
func (x *exchange) withoutEchoes(m *message) {
	for i := range m.headers {
		if h := &m.headers[i]; len(h.name) > 0 && h.name[0] != ':' && (x.echoed(h.value) || x.echoed(h.name)) {
			x.mut.removeBytes(h.name)
			x.found[echoHeader] = true
		}
	}
}

// withoutKeys blanks the pool's keys in a body that was read, in place, and reports whether there were any.
func (x *exchange) withoutKeys(body []byte) bool {
	found := x.pool.secrets.Blank(body)
	x.found[echoBody] = x.found[echoBody] || found
	return found
}

// blankError puts an error's body without keys in the place of the one that came, if there are keys in it. plain is that body without its
// content coding; nil: it is not known.
func (x *exchange) blankError(m *message, plain []byte) {
	if m.kind != responseBody {
		return
	}
	if len(plain) > 0 && len(m.body) > 0 && &plain[0] != &m.body[0] { // it is encoded
		if x.withoutKeys(plain) {
			x.blanked = plain
			x.mut.remove("content-encoding")
		}
		return
	}
	if x.withoutKeys(m.body) {
		x.blanked = m.body
	}
}

// passBody lets an answer's body pass, as it came or without its keys.
func (x *exchange) passBody(k kind) {
	if x.blanked == nil || k != responseBody {
		mode := modes{}
		if x.limited.watch {
			mode = modes{set: true, request: x.bodyMode, trailers: true}
		}
		x.out.pass(k, &x.mut, mode, x.ended())
		return
	}
	if !x.partial {
		x.mut.length(len(x.blanked))
	}
	x.out.body(k, &x.mut, x.blanked, x.ended())
}

// recordEchoes counts the answers in which a key was found, and tells of them now and then.
func (s *Server) recordEchoes(ctx context.Context, pool *bound, key *keypool.Key, found [echoes]bool) {
	for at, yes := range found {
		if !yes {
			continue
		}
		pool.metrics.echoes[at].Add(1)
		if n, ok := s.echoed.due(s.clock.Now()); ok {
			attrs := []slog.Attr{slog.String("pool", pool.name), slog.String("part", echoNames[at]), slog.Int64("answers", n)}
			if key != nil {
				attrs = append(attrs, slog.String("key", key.Name()))
			}
			s.log.LogAttrs(ctx, slog.LevelWarn, "the provider's answer holds a key of the pool, which was taken out of it", attrs...)
		}
	}
}

// blanking is the way of the later turns, whose answers the agent reads: without the keys of the pool that the request names.
type blanking struct {
	http.RoundTripper
	server *Server
}

// RoundTrip implements http.RoundTripper.
func (b *blanking) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := b.RoundTripper.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if pool := b.server.pools.Load().byName[r.Header.Get(wire.PoolHeader)]; pool != nil && pool.secrets != nil {
		answer.Body = &blankedBody{ReadCloser: answer.Body, stream: redact.NewStream(pool.secrets), server: b.server, pool: pool}
	}
	return answer, nil
}

// blankedBody is a body without keys.
type blankedBody struct {
	io.ReadCloser
	stream *redact.Stream
	server *Server
	pool   *bound
	found  bool
	ready  []byte // what was read and not handed on yet
	buf    []byte
	err    error // after ready
}

// Read implements io.Reader.
func (b *blankedBody) Read(p []byte) (int, error) {
	for len(b.ready) == 0 && b.err == nil {
		if cap(b.buf) < len(p) {
			b.buf = make([]byte, len(p))
		}
		n, err := b.ReadCloser.Read(b.buf[:len(p)])
		var found bool
		if b.ready, found = b.stream.Next(b.buf[:n]); err != nil {
			rest, more := b.stream.End()
			b.ready, b.err, found = append(bytes.Clone(b.ready), rest...), err, found || more
		}
		if found && !b.found {
			b.found = true
			b.server.recordEchoes(context.Background(), b.pool, nil, [echoes]bool{echoBody: true})
		}
	}
	n := copy(p, b.ready)
	b.ready = b.ready[n:]
	if n > 0 {
		return n, nil
	}
	return 0, b.err
}
