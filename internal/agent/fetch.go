package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime/debug"
	"strings"

	"github.com/keyturn/keyturn/internal/coding"
)

// piece is the next that came of a turn's answer.
type piece struct {
	answer   *http.Response // the head; bytes are the body then, unless it is the stream that the client waits for
	bytes    []byte         // of the stream
	err      error          // how the body ended, if not well; a stream's end is io.EOF
	unsent   error          // why there is no answer
	panicked error          // with its stack: a bug, which is the loop's to raise again
}

// fetching is a turn's request under way, read by a goroutine of its own, so that the loop can do something else meanwhile.
type fetching struct {
	pieces chan piece
	free   chan []byte   // buffers to read into; whoever gets a piece's bytes puts them back
	done   chan struct{} // closed when the goroutine has ended
}

// Two buffers: one is read into while the other is written to the client.
const (
	buffers     = 2
	bufferBytes = 32 << 10
	maxError    = 1 << 20 // bytes that are read of what comes in a stream's place
)

// fetch sends the turn's request and reads the answer, until its end or that of ctx.
func (l *loop) fetch(ctx context.Context) *fetching {
	f := &fetching{pieces: make(chan piece), free: make(chan []byte, buffers), done: make(chan struct{})}
	request, most := l.request(), int64(maxError)
	if !l.Streams() {
		most = l.limits.MaxBody + 1
	}
	go func() {
		defer close(f.done)
		defer func() {
			if r := recover(); r != nil {
				f.put(ctx, piece{panicked: fmt.Errorf("%v\n%s", r, debug.Stack())})
			}
		}()
		answer, err := l.agent.send(ctx, request)
		if err != nil {
			f.put(ctx, piece{unsent: err})
			return
		}
		defer answer.Body.Close()
		if err := l.decode(answer); err != nil {
			f.put(ctx, piece{answer: answer, err: err})
			return
		}
		if l.awaits(answer) {
			f.stream(ctx, answer)
			return
		}
		body, err := readWithin(answer.Body, answer.ContentLength, most, l.limits) // of what broke off the beginning may tell enough
		f.put(ctx, piece{answer: answer, bytes: body, err: err})
	}()
	return f
}

// roomStep is how much of an answer memory is asked for at a time, in bytes; the first so many are for everybody.
const roomStep = 1 << 20

// errNoMemory says that there is no memory for the rest of an answer.
var errNoMemory = errors.New("no memory for the rest of the answer")

// readWithin reads at most most bytes of an answer of which length is announced, or -1. Memory is taken before the bytes are.
func readWithin(body io.Reader, length, most int64, limits Limits) ([]byte, error) {
	taken := int64(roomStep)
	if n := min(length, most); n > taken {
		if !limits.room(n) {
			return nil, errNoMemory
		}
		taken = n + 1 // where as much comes, nothing follows
	}
	var all []byte
	for {
		part, err := io.ReadAll(io.LimitReader(body, min(taken, most)-int64(len(all))))
		if all = append(all, part...); err != nil || int64(len(all)) < taken || taken >= most {
			return all, err
		}
		if !limits.room(roomStep) {
			return nil, errNoMemory
		}
		taken += roomStep
	}
}

// decode has an answer read without its content codings, which nobody asked for. One that the client gets as the provider made it stays.
func (r *Response) decode(answer *http.Response) error {
	header := strings.Join(answer.Header.Values("Content-Encoding"), ", ")
	if header == "" || !r.Streams() && !isGood(answer) {
		return nil
	}
	body, err := coding.NewReader(answer.Body, header)
	if err != nil {
		return err
	}
	answer.Body = decodedBody{body, answer.Body}
	answer.Header.Del("Content-Encoding")
	return nil
}

// decodedBody is a body without its codings.
type decodedBody struct {
	io.ReadCloser
	coded io.Closer
}

// Close implements io.Closer.
func (b decodedBody) Close() error {
	return errors.Join(b.ReadCloser.Close(), b.coded.Close())
}

// stream hands over a stream, piece by piece.
func (f *fetching) stream(ctx context.Context, answer *http.Response) {
	for range buffers {
		f.free <- make([]byte, bufferBytes)
	}
	if !f.put(ctx, piece{answer: answer}) {
		return
	}
	for {
		var b []byte
		select {
		case b = <-f.free:
		case <-ctx.Done():
			return
		}
		n, err := answer.Body.Read(b[:cap(b)])
		switch {
		case n == 0:
			f.free <- b
		case !f.put(ctx, piece{bytes: b[:n]}):
			return
		}
		if err != nil {
			f.put(ctx, piece{err: err})
			return
		}
	}
}

// put hands a piece over; false when nobody wants it any more.
func (f *fetching) put(ctx context.Context, p piece) bool {
	select {
	case f.pieces <- p:
		return true
	case <-ctx.Done():
		return false
	}
}

// awaits reports whether an answer is the stream that the client waits for. Some gateways do not say that it is one.
func (r *Response) awaits(answer *http.Response) bool {
	if !r.Streams() || !isGood(answer) {
		return false
	}
	kind, _, _ := strings.Cut(answer.Header.Get("Content-Type"), ";")
	switch strings.ToLower(strings.TrimSpace(kind)) {
	case "", "text/plain", "application/octet-stream":
		return true
	}
	return r.origin.Dialect.IsStream(kind)
}

// isGood reports whether an answer is no error: some gateways say 201.
func isGood(answer *http.Response) bool { return answer.StatusCode/100 == 2 }
