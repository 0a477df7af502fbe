package agent

import (
	"net/http"
	"time"

	"go.opentelemetry.io/otel/propagation"

	"github.com/keyturn/keyturn/internal/dialect"
	"github.com/keyturn/keyturn/internal/wire"
)

// Origin is the client's request as its first attempt saw it, after the route's rewrites: what the requests of later turns repeat.
type Origin struct {
	Pool      string
	Provider  string // gen_ai.provider.name of spans and metrics
	Dialect   dialect.Dialect
	Path      string
	Authority string
	Client    string // its name, where Envoy knows it
	ID        string // of the client's request, by which its turns are recorded together; "" if there is none
	RequestID string // the same in all turns, so that their logs can be joined: Envoy's, where it makes one
	Talk      uint64 // the conversation, as a hash, where the request's body named it; 0: it did not
	Header    http.Header
	Began     time.Time // when the client's request came

	trace propagation.MapCarrier
}

// Limits bound one response. All are above zero.
type Limits struct {
	Turns       int           // turns, the client's own request included; in the last the model may call no tools. At least 2
	Calls       int           // calls of Keyturn's tools
	Time        time.Duration // from the client's request on; calls that run then are cut short, and the next turn is the last
	ResultBytes int64         // what one call's result may bring to the model; the rest is cut off
	MaxBody     int64         // the largest request or whole answer, in bytes

	// Room takes memory for so many bytes more of a later turn's answer, for as long as the response lasts; false: there is none. Nil:
	// nothing bounds them all.
	Room func(bytes int64) bool
}

// room asks for memory.
func (l Limits) room(n int64) bool { return l.Room == nil || l.Room(n) }

// Report is what a response came to.
type Report struct {
	Turns int           // turns whose answers were read to their end
	Calls int           // calls that were run or refused
	Usage dialect.Usage // of those turns
	Sent  int           // requests of later turns that were sent
	Done  []wire.Call   // the first of the calls, at most maxDone
	// Problem is the code of the error that the response ended with, "" of one that ended well. A provider's own is cut to what names have.
	Problem string
	Key     string // name of the key that served the last turn after the first; "" if there was none or it is not known
}

// maxDone bounds what a Report has of calls.
const maxDone = 64

// Response is one response to a client. The caller hands in the answer to the first turn, with Write and End if the client asked for
// a stream and else with Whole, and calls Agent.Finish where that was not all. It is not safe for concurrent use.
type Response struct {
	session dialect.Session
	origin  *Origin
	limits  Limits
	turn    dialect.Turn // the one that has ended
	report  Report
	once    bool // nothing comes after the first turn
	whole   bool // the provider answered with no stream, whatever the client asked for
}

// Begin makes the response to a request that has the tools in it. The session is the response's own from here on, and origin does not
// change any more.
func Begin(session dialect.Session, origin *Origin, limits Limits) *Response {
	return &Response{session: session, origin: origin, limits: limits}
}

// Once says that the response is read, and that nothing comes after its first turn: it has no calls to run, and no key is judged by it.
func (r *Response) Once() { r.once = true }

// Streams reports whether the client gets server-sent events: it asked for them, and the provider's first answer was not Whole.
func (r *Response) Streams() bool { return r.session.Streams() && !r.whole }

// Write takes the next bytes of the first turn's stream, and appends to dst what the client gets. If the turn has failed before it
// showed anything, nothing more of it is wanted: End is due.
func (r *Response) Write(dst, p []byte) (out []byte, failed bool) {
	out, state := r.session.Write(dst, p)
	return out, state == dialect.Failing
}

// HandOn goes on with a stream whose turn has failed, by an error for which no key is to blame, as fault judges: the client gets that error, and
// what follows it. It reports whether it is one.
func (r *Response) HandOn(dst []byte, fault func(*dialect.Failure) bool) (out []byte, ok bool) {
	s, tells := r.session.(dialect.Failed)
	if !tells {
		return dst, false
	}
	f := s.Failure()
	if f == nil || !r.once && fault(f) {
		return dst, false
	}
	return r.session.Relay(dst), true
}

// End says that the first turn's stream has ended, and appends to dst what the client gets. Finish is due if there is more to come.
func (r *Response) End(dst []byte) (out []byte, more bool) {
	out, turn := r.session.End(dst)
	if r.once && turn.Failure != nil {
		out = r.session.Relay(out)
	}
	return out, r.ended(turn)
}

// Fail ends the first turn's stream, of which no more can be read, with an error.
func (r *Response) Fail(dst []byte, e dialect.Error) []byte {
	r.report.Turns++
	return r.session.Fail(dst, e)
}

// Whole takes the first turn's answer that is no stream. If there is more to come Finish is due; otherwise Body has the client's answer.
func (r *Response) Whole(body []byte) (more bool) {
	r.whole = true
	return r.ended(r.session.Whole(body))
}

// Body is the answer of a client that does not stream, once the response is over.
func (r *Response) Body() []byte { return r.session.Body() }

// Explain tells whether an error that the provider answered the first turn with comes of what Keyturn has forgotten, and what the
// client should read in its place.
func (r *Response) Explain(status int, body []byte) (dialect.Error, bool) {
	return r.session.Explain(status, body)
}

// Refused is what of the things that were put into the first turn's request, tools among them that were offered, an error of the provider's
// is about.
func (r *Response) Refused(offered []dialect.Tool, answer []byte) dialect.Without {
	return dialect.RefusedOf(r.session, offered, answer)
}

// Report is what the response has come to so far.
func (r *Response) Report() Report { return r.report }

// ended notes what a turn came to. It reports whether the response goes on.
func (r *Response) ended(turn dialect.Turn) (more bool) {
	r.turn = turn
	r.report.Turns++
	u := &r.report.Usage
	u.Input += turn.Usage.Input
	u.Output += turn.Usage.Output
	u.CacheRead += turn.Usage.CacheRead
	u.CacheWrite += turn.Usage.CacheWrite
	u.Reasoning += turn.Usage.Reasoning
	return !r.once && (len(turn.Calls) > 0 || turn.Failure != nil)
}
