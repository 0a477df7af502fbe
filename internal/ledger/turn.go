package ledger

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keyturn/keyturn/internal/dialect"
	"github.com/keyturn/keyturn/internal/record"
	"github.com/keyturn/keyturn/internal/wire"
)

// turn makes the record of a request.
func (r *request) turn() *record.Turn {
	slices.SortStableFunc(r.attempts, func(a, b *part) int {
		return cmp.Or(cmp.Compare(max(a.noted.turn, 1), max(b.noted.turn, 1)), a.start.Compare(b.start), cmp.Compare(a.noted.attempt, b.noted.attempt))
	})
	t := &record.Turn{ID: r.id, Cut: r.more}
	front := r.front
	if front == nil {
		front = r.standIn()
		t.Halves |= record.NoFront
	}
	t.Start, t.End = front.start, front.start.Add(front.took)
	t.Method, t.Path, t.UserAgent, t.Session = front.method, front.path, front.userAgent, front.session
	t.TraceID, t.SpanID, t.Unsampled = traceOf(front.trace)
	t.Status, t.Stream = front.status, strings.HasPrefix(front.contentType, "text/event-stream")
	t.FirstByte, t.BytesIn, t.BytesOut = front.firstByte, front.bytesIn, front.bytesOut
	t.Pool, t.Client = front.noted.pool, front.noted.client
	if len(r.attempts) == 0 {
		t.Key = front.noted.keyName
	}
	if d := dialect.Of(t.Path); d != nil {
		t.Dialect = d.Name()
	}
	for _, a := range r.attempts {
		r.addAttempt(t, a)
	}
	if !r.told() {
		t.Halves |= record.NoAttempt
	}
	t.Ending, t.ErrorClass = r.ending(front)
	r.sum(t)
	t.Overhead = r.overhead(t, front)
	return t
}

// standIn is what the attempts tell in the front's place.
func (r *request) standIn() *part {
	first, last := r.attempts[0], r.attempts[0]
	for _, a := range r.attempts {
		if max(a.noted.turn, 1) == 1 {
			last = a
		}
	}
	p := *first
	p.front, p.flags, p.details, p.status, p.contentType, p.errorCode = true, last.flags, last.details, last.status, last.contentType, last.errorCode
	p.bytesOut, p.took = last.bytesOut, last.start.Add(last.took).Sub(first.start)
	p.firstByte = 0
	if last.firstByte > 0 {
		p.firstByte = last.start.Add(last.firstByte).Sub(first.start)
	}
	return &p
}

// addAttempt adds what an attempt tells.
func (r *request) addAttempt(t *record.Turn, p *part) {
	n := &p.noted
	a := record.Attempt{
		Number: max(n.attempt, 1), Turn: max(n.turn, 1), Pool: n.pool, Key: n.keyName, Hint: n.key,
		Start: p.start.Sub(t.Start), Duration: p.took, Status: p.provided(), Class: n.class, Wait: n.wait, Outcome: p.outcome(),
	}
	if p.usage != nil {
		a.Model, a.Usage = p.usage.model, p.usage.Usage
		if a.Usage.State == record.Complete && (p.left() || p.broken() != "") {
			a.Usage.State = record.Partial // all that came was read, and it was not all
		}
	}
	t.Pool, t.Provider = cmp.Or(n.pool, t.Pool), cmp.Or(n.provider, t.Provider)
	t.Client, t.Asked = cmp.Or(t.Client, n.client), cmp.Or(t.Asked, n.model)
	t.Answered = cmp.Or(a.Model, t.Answered)
	if succeeded(a.Status) {
		t.Turns++
	}
	if a.Status != 0 && n.outcome == "" { // the client has its answer
		t.Key = cmp.Or(n.keyName, t.Key)
	}
	t.Attempts = append(t.Attempts, a)
	if a.Turn == 1 {
		t.Cut += n.cut
		for _, c := range n.calls {
			t.Calls = append(t.Calls, record.Call{ID: c.ID, Server: c.Server, Tool: c.Tool, Turn: c.Turn, Start: c.Start, Duration: c.Duration, Outcome: c.Outcome})
		}
	}
}

// succeeded reports whether a status is a good answer's.
func succeeded(status int) bool { return status > 0 && status < 400 }

// provided is the provider's status, 0 when none came.
func (p *part) provided() int {
	switch {
	case p.noted.status != 0:
		return p.noted.status
	case p.firstBack == 0, strings.HasPrefix(p.details, wire.DetailsPrefix):
		return 0
	}
	return p.status
}

// outcome is how the attempt ended: what Keyturn says, or else what its status does.
func (p *part) outcome() string {
	switch status := p.provided(); {
	case p.noted.outcome != "":
		return p.noted.outcome
	case p.noted.kind == wire.BYOK:
		return "foreign"
	case p.status == 0:
		return "no_response"
	case succeeded(status):
		return "ok"
	}
	return "surfaced"
}

// told reports whether all attempts that the front made have come, and all of the later turns.
func (r *request) told() bool {
	if len(r.attempts) == 0 {
		return r.front.attempts == 0
	}
	first, finals, sent := r.more, 0, 0
	for _, a := range r.attempts {
		sent = max(sent, a.noted.sent)
		switch {
		case a.noted.turn <= 1:
			first++
		case a.final():
			finals++
		}
	}
	return finals >= sent && (r.front == nil || first >= r.front.attempts)
}

// ending says how the response ended, and what went wrong.
func (r *request) ending(front *part) (record.Ending, string) {
	var last *part // attempt of the first turn
	reached := false
	for _, a := range r.attempts {
		reached = reached || a.provided() != 0
		if a.noted.turn <= 1 {
			last = a
		}
	}
	failed := ""
	if last != nil {
		failed = cmp.Or(last.noted.ending, last.broken())
	}
	failed = cmp.Or(failed, front.broken())
	switch {
	case front.status == 0 || front.left() && (r.front == nil || r.abandoned()):
		return record.Cancelled, ""
	case succeeded(front.status) && failed != "":
		return record.Broken, failed
	case succeeded(front.status):
		return record.Whole, ""
	}
	class := cmp.Or(front.errorCode, failed)
	if last != nil {
		class = cmp.Or(last.noted.class, last.errorCode, class)
	}
	class = cmp.Or(class, "http_"+strconv.Itoa(front.status))
	if !reached && (len(r.attempts) > 0 || front.attempts == 0) {
		return record.Refused, class
	}
	return record.Whole, class
}

// sum adds up the usage of all good answers. What Keyturn has read itself stands in for what an older Envoy does not read.
func (r *request) sum(t *record.Turn) {
	known, complete, answers := 0, 0, 0
	for i := range t.Attempts {
		a := &t.Attempts[i]
		if !succeeded(a.Status) {
			continue
		}
		answers++
		add(&t.Usage, a.Usage)
		switch a.Usage.State {
		case record.Complete:
			complete++
			known++
		case record.Partial:
			known++
		case record.Unknown:
		}
	}
	if known == 0 {
		for _, a := range r.attempts {
			if n := a.noted.tokens; n.Input+n.Output > 0 {
				t.Usage = n
				known, complete, answers = 1, 1, 1
			}
		}
	}
	switch {
	case known == 0:
		t.Usage.State = record.Unknown
	case complete == answers && t.Ending != record.Broken && t.Halves == 0:
		t.Usage.State = record.Complete
	default:
		t.Usage.State = record.Partial
	}
}

func add(to *record.Usage, u record.Usage) {
	to.Input += u.Input
	to.Output += u.Output
	to.CacheRead += u.CacheRead
	to.CacheWrite += u.CacheWrite
	to.Reasoning += u.Reasoning
}

// span is a time within a request.
type span struct{ from, to time.Duration }

// overhead is what of the time until the first byte belongs to nobody else: neither the client's sending, nor a provider, nor a tool.
func (r *request) overhead(t *record.Turn, front *part) time.Duration {
	if t.FirstByte <= 0 || r.front == nil || len(r.attempts) == 0 {
		return 0
	}
	others := []span{{0, front.lastIn}}
	for _, p := range r.attempts {
		if p.toUpstream == 0 {
			continue
		}
		from, to := p.start.Sub(t.Start)+p.toUpstream, p.lastBack
		if to == 0 {
			to = p.took
		}
		if len(t.Calls) == 0 && t.Stream && p.firstBack > 0 && succeeded(p.status) {
			to = p.firstBack // the rest of it streams past
		}
		others = append(others, span{from, p.start.Sub(t.Start) + to})
	}
	for _, c := range t.Calls {
		others = append(others, span{c.Start, c.Start + c.Duration})
	}
	slices.SortFunc(others, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	own, at := time.Duration(0), time.Duration(0)
	for _, s := range others {
		from, to := min(max(s.from, 0), t.FirstByte), min(s.to, t.FirstByte)
		own += max(from-at, 0)
		at = max(at, to)
	}
	return own + max(t.FirstByte-at, 0)
}

// traceOf are the ids of a traceparent, and whether it says that nobody keeps the trace:
// https://www.w3.org/TR/trace-context/#traceparent-header
func traceOf(header string) (trace, parent string, unsampled bool) {
	f := strings.Split(header, "-")
	if len(f) < 4 || len(f[1]) != 32 || len(f[2]) != 16 || !hexadecimal(f[1]) || !hexadecimal(f[2]) {
		return "", "", false
	}
	flags, err := strconv.ParseUint(f[3], 16, 8)
	return f[1], f[2], err != nil || flags&1 == 0
}

// hexadecimal reports whether s has hexadecimal digits only, in lower case, and not only zeros.
func hexadecimal(s string) bool {
	return strings.Trim(s, "0123456789abcdef") == "" && strings.Trim(s, "0") != ""
}
