package coding

import (
	"errors"
	"io"
	"iter"
)

// Bounds of a stream.
const (
	pieceBytes = 32 << 10 // what is handed out at once
	// maxRatio bounds how much comes of what has come, beside freeBytes: of events about 20 times as much does, and Envoy holds all of
	// what is made of the piece at hand for a client that does not read.
	maxRatio  = 64
	freeBytes = 1 << 20
)

// errStopped ends a decoder whose stream nobody reads any more.
var errStopped = errors.New("stopped")

// Stream takes the codings off a body that comes in pieces, and hands out what each of them tells. It is not safe for concurrent use.
type Stream struct {
	header  string
	next    func() ([]byte, bool)
	stop    func()
	yield   func([]byte) bool
	in      []byte // what has come and was not read
	last    bool   // nothing comes after it
	out     []byte // what was decoded and not handed out
	came    int64  // bytes
	made    int64
	err     error
	stopped bool
}

// NewStream makes a Stream for a body with that header. Stop is due.
func NewStream(header string) *Stream {
	s := &Stream{header: header}
	s.next, s.stop = iter.Pull(s.run)
	return s
}

// run decodes. It stands still where it needs more of the body, or somebody to take a piece.
func (s *Stream) run(yield func([]byte) bool) {
	s.yield = yield
	d, err := NewReader(source{s}, s.header)
	if err != nil {
		s.err = err
		return
	}
	defer d.Close()
	buf := make([]byte, pieceBytes)
	for {
		n, err := d.Read(buf)
		if s.made += int64(n); s.made > freeBytes+maxRatio*s.came {
			s.err = ErrSize
			return
		}
		if n > 0 && !yield(buf[:n]) {
			return
		}
		if err != nil {
			if !errors.Is(err, io.EOF) {
				s.err = err
			}
			return
		}
	}
}

// source is the body, as decoders read it.
type source struct{ s *Stream }

// Read implements io.Reader.
func (r source) Read(p []byte) (int, error) {
	for s := r.s; len(s.in) == 0; {
		switch {
		case s.last:
			return 0, io.EOF
		case s.stopped || !s.yield(nil):
			s.stopped = true
			return 0, errStopped
		}
	}
	n := copy(p, r.s.in)
	r.s.in = r.s.in[n:]
	return n, nil
}

// Feed takes the next piece of the body, which is read until Piece returns nothing. With end it is the last.
func (s *Stream) Feed(p []byte, end bool) {
	s.in, s.last = p, end
	s.came += int64(len(p))
	s.advance()
}

// advance decodes the next piece, as far as the body has come.
func (s *Stream) advance() {
	if s.out = nil; s.err == nil {
		s.out, _ = s.next()
	}
}

// Piece is the next of what has come, without its codings; empty when more of the body is needed. It is the caller's until the next call.
func (s *Stream) Piece() []byte {
	piece := s.out
	s.out = nil
	return piece
}

// More decodes on, and reports whether Piece has something.
func (s *Stream) More() bool {
	if len(s.out) == 0 {
		s.advance()
	}
	return len(s.out) > 0
}

// Err is why the body cannot be decoded any further; nil if it can.
func (s *Stream) Err() error { return s.err }

// Stop gives back what the decoder holds.
func (s *Stream) Stop() { s.stop() }
