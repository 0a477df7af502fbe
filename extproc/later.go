package extproc

import "sync/atomic"

// Bounds of what later turns send, in bytes. The provider's own response has ended by then, so nothing holds Envoy back from
// taking all of it in for a client that does not read (ext_proc has no flow control for it in Envoy 1.40).
const (
	maxLater    = 8 << 20   // of one response
	maxAllLater = 256 << 20 // of all that are open
	maxOver     = 1 << 20   // by which the piece that reaches a bound may pass it, and the response's end after it
)

// later counts what the later turns of all open responses have sent.
type later struct{ sent atomic.Int64 }

// room is one response's.
type room struct {
	all  *later
	sent int64
	full bool
}

func (l *later) begin() *room { return &room{all: l} }

// take reports whether the next n bytes are to be sent, and whether more may follow them. The piece that reaches the bound is sent
// if it is not too large, since the response's end has to fit what the client has; then comes that end, and nothing else.
func (r *room) take(n int) (send, more bool) {
	send = true
	switch {
	case r.full:
		send = n <= maxOver
		more = send
	case r.sent+int64(n) > maxLater, r.all.sent.Load()+int64(n) > maxAllLater:
		r.full = true
		send = n <= maxOver
	default:
		more = true
	}
	if send {
		r.sent += int64(n)
		r.all.sent.Add(int64(n))
	}
	return send, more
}

// end gives back what was taken: the response is over.
func (r *room) end() {
	r.all.sent.Add(-r.sent)
	r.sent = 0
}
