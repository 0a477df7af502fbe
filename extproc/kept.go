package extproc

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"time"

	"github.com/keyturn/keyturn/internal/agent"
	"github.com/keyturn/keyturn/internal/dialect"
)

// withKept is what a request needs that asks for a response, or deletes one, which Keyturn has made of several turns: the provider has stored
// each, and the request goes on to the last of them.
type withKept struct {
	*dialect.Kept
	deletes bool
	origin  agent.Origin // what the requests that delete the others repeat
}

// keeps finds out whether the request is one.
func (x *exchange) keeps(m *message, own []byte) {
	method := string(m.header(":method"))
	if !x.stored || x.laterTurn || x.home.memory == nil || method != "GET" && method != "DELETE" {
		return
	}
	path := string(m.header(":path"))
	if k := dialect.KeptOf(path, x.memory(own)); k != nil {
		x.remember(m, own)
		x.kept = &withKept{Kept: k, deletes: method == "DELETE", origin: x.tools.origin}
		x.tools = nil
	}
}

// readsKept asks for the body of a good answer to such a request.
func (x *exchange) readsKept(m *message) bool {
	k := x.kept
	if k == nil || x.status != 200 || m.end || !bytes.Contains(m.header("content-type"), []byte("json")) || contentLength(m) > x.pool.maxBody ||
		!k.deletes && k.Whole == nil || len(m.joined("content-encoding")) > 0 || !x.hasRoom(m) {
		return false
	}
	x.shape = keptBody
	x.out.pass(m.kind, &x.mut, modes{set: true, request: x.bodyMode, response: x.readable(m)}, nil)
	return true
}

// keptAnswer makes what the provider says of the last turn what it is of the response: all turns together, under the client's id.
func (x *exchange) keptAnswer(m *message) due {
	x.done = true
	body := x.kept.Whole
	if x.kept.deletes {
		body = x.kept.Named(m.body)
	}
	if !x.partial {
		x.mut.length(len(body))
	}
	x.out.body(m.kind, &x.mut, body, &x.dyn)
	if x.kept.deletes && len(x.kept.Others) > 0 {
		return dueDeletes
	}
	return dueReply
}

// Bounds of deleting the other turns of a response. A response has no more by default.
const (
	maxDeletes = 64
	deleteTime = 20 * time.Second
)

// deleteTurns deletes the turns of a response but the last, which is deleted. Those that the provider has not are no fault.
func (s *Server) deleteTurns(ctx context.Context, a *attempt) {
	if s.agent == nil {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	timer := s.clock.AfterFunc(deleteTime, cancel, "delete")
	defer timer.Stop()
	k := a.kept
	before, after, _ := strings.Cut(k.origin.Path, "/responses/")
	_, query, _ := strings.Cut(after, "?")
	if query != "" {
		query = "?" + query
	}
	for i, id := range k.Others {
		if i == maxDeletes {
			break
		}
		if strings.Trim(id, "_-") == "" || strings.ContainsFunc(id, func(r rune) bool { return r > 'z' || !inWord(byte(r)) }) { // it would lead elsewhere
			continue
		}
		o := k.origin
		o.Path = before + "/responses/" + id + query
		if status, err := s.agent.Delete(ctx, &o); err != nil || status >= 400 && status != 404 {
			s.log.Warn("a turn of a response that was deleted is still stored by the provider", slog.String("pool", a.pool.name), slog.Int("status", status))
		}
	}
}
