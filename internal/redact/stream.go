package redact

// Stream blanks the secrets in a stream that comes in pieces, with asterisks. It holds back what may become a secret, and nothing else.
// A nil Stream passes everything on.
type Stream struct {
	scan *scanner
	held []byte
	base int64 // offset of held in the stream
	read int   // how many of the bytes of held were scanned
}

// NewStream makes a Stream that looks for what is in set; nil where that is nothing.
func NewStream(set *Set) *Stream {
	if set == nil {
		return nil
	}
	return &Stream{scan: newScanner(set, false)}
}

// Next takes the next piece, which it may change, and returns what can be handed on. It reports whether a secret was found.
func (s *Stream) Next(piece []byte) (pass []byte, found bool) { return s.next(piece, false) }

// End returns what is left.
func (s *Stream) End() (pass []byte, found bool) { return s.next(nil, true) }

func (s *Stream) next(piece []byte, final bool) (pass []byte, found bool) {
	if s == nil {
		return piece, false
	}
	b := piece
	if len(s.held) > 0 {
		b = append(s.held[:len(s.held):len(s.held)], piece...)
	}
	s.read += s.scan.scan(b[s.read:], s.base+int64(s.read), final)
	end := len(b)
	if !final {
		end = s.scan.begun(b, s.base, s.read, 1)
	}
	for _, at := range s.scan.spans {
		fill(b, s.base, at)
		found = true
	}
	s.scan.spans = s.scan.spans[:0]
	s.held = append([]byte(nil), b[end:]...)
	s.base, s.read = s.base+int64(end), s.read-end
	return b[:end], found
}
