package redact

import (
	"bytes"
	"io"
	"slices"
	"sync"
)

// The bounds of what is held back of a stream, in bytes.
const (
	maxLine  = 64 << 10 // of a line that has not ended; what comes of it beyond is passed on in pieces
	maxPiece = 16 << 10 // that are read at once
	minBegun = 8        // of a secret at the end of a line, to hold the line back until the next one shows whether it goes on
)

// blanked stands where a secret stood.
const blanked = "***"

// Writer passes on what is written to it, by whole lines, with "***" in the place of secrets: also of those that go on in the next line or the next
// Write. Its methods may be called from any goroutine.
type Writer struct {
	mu   sync.Mutex // protects the fields below
	out  io.Writer
	set  *Set
	scan *scanner
	buf  []byte // what was not passed on yet
	base int64  // offset of its first byte in the stream
	read int    // how many of its bytes were scanned
	line int    // in how many of its bytes no line ends
}

// NewWriter returns a Writer in front of out that looks for what is in set. Errors of out are not reported: a reader that is gone must not stop
// who writes.
func NewWriter(out io.Writer, set *Set) *Writer {
	w := &Writer{out: out}
	w.lookFor(set)
	return w
}

// Use has the writer look for what is in set from now on, in what it holds back too.
func (w *Writer) Use(set *Set) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lookFor(set)
}

func (w *Writer) lookFor(set *Set) {
	var found []span
	if w.scan != nil {
		found = w.scan.spans
	}
	w.set, w.scan, w.read = set, nil, 0
	if set != nil {
		w.scan = newScanner(set, true)
		w.scan.spans = found
	}
}

// Write takes the next bytes. It never fails.
func (w *Writer) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := len(b)
	for len(b) > 0 {
		piece := b[:min(len(b), maxPiece)]
		b = b[len(piece):]
		w.buf = append(w.buf, piece...)
		w.passOn()
	}
	return n, nil
}

// passOn passes on the lines in which no secret can begin any more, and what is too much of a line.
func (w *Writer) passOn() {
	free, sure := len(w.buf), len(w.buf)
	if w.scan != nil {
		w.read += w.scan.scan(w.buf[w.read:], w.base+int64(w.read), false)
		free = w.scan.begun(w.buf, w.base, w.read, minBegun)
		sure = w.scan.begun(w.buf, w.base, w.read, 1)
	}
	end := 0
	if free > w.line {
		if i := bytes.LastIndexByte(w.buf[w.line:free], '\n'); i >= 0 {
			end = w.line + i + 1
		}
		w.line = free
	}
	if len(w.buf)-end > maxLine {
		end = max(end, sure)
	}
	w.emit(end)
}

// Close passes on what is left, a line that did not end among it, without what may have become a secret.
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.scan != nil {
		w.read += w.scan.scan(w.buf[w.read:], w.base+int64(w.read), true)
		if from := w.scan.begun(w.buf, w.base, len(w.buf), minBegun); from < len(w.buf) {
			w.scan.note(span{w.base + int64(from), w.base + int64(len(w.buf))}, false, nil, 0)
		}
	}
	w.emit(len(w.buf))
	return nil
}

// emit passes on the first n bytes.
func (w *Writer) emit(n int) {
	if n == 0 {
		return
	}
	b, end := w.buf[:n], w.base+int64(n)
	if w.scan != nil && len(w.scan.spans) > 0 {
		b = w.withoutSecrets(b)
		w.scan.spans = slices.DeleteFunc(w.scan.spans, func(at span) bool { return at.to <= end })
	}
	_, _ = w.out.Write(b)
	rest := copy(w.buf, w.buf[n:])
	w.buf, w.base, w.read, w.line = w.buf[:rest], end, max(0, w.read-n), max(0, w.line-n)
	if rest == 0 && cap(w.buf) > maxLine {
		w.buf = nil
	}
}

// withoutSecrets is b, which stands at w.base, without what of secrets stands in it. The ends of lines stay.
func (w *Writer) withoutSecrets(b []byte) []byte {
	var out []byte
	at := 0
	for _, s := range w.scan.spans {
		from, to := max(int(s.from-w.base), at), min(int(s.to-w.base), len(b))
		if from >= to {
			continue
		}
		out = append(out, b[at:from]...)
		for line := range bytes.Lines(b[from:to]) {
			text := bytes.TrimRight(line, "\r\n")
			if len(text) > 0 {
				out = append(out, blanked...)
			}
			out = append(out, line[len(text):]...)
		}
		at = to
	}
	return append(out, b[at:]...)
}
