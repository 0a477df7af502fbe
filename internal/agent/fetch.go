package agent

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"runtime/debug"
)

// piece is the next that came of a turn's answer: its head, with the body if it is no stream; bytes of its stream; or its end.
type piece struct {
	response *http.Response
	bytes    []byte
	err      error
	panicked error // with its stack: a bug, which is the loop's to raise again
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
	maxError    = 1 << 20 // bytes of an error that are read
)

// fetch sends the turn's request and reads the answer, until its end or that of ctx.
func (l *loop) fetch(ctx context.Context) *fetching {
	f := &fetching{pieces: make(chan piece), free: make(chan []byte, buffers), done: make(chan struct{})}
	for range buffers {
		f.free <- make([]byte, bufferBytes)
	}
	request := l.request()
	go func() {
		defer close(f.done)
		defer func() {
			if r := recover(); r != nil {
				f.put(ctx, piece{panicked: fmt.Errorf("%v\n%s", r, debug.Stack())})
			}
		}()
		resp, err := l.agent.send(ctx, request)
		if err != nil {
			f.put(ctx, piece{err: err})
			return
		}
		defer resp.Body.Close()
		f.read(ctx, resp, l.streams(resp))
	}()
	return f
}

// read hands over an answer, piece by piece if it is the stream that the client is waiting for.
func (f *fetching) read(ctx context.Context, resp *http.Response, streams bool) {
	if !streams {
		body, _ := io.ReadAll(io.LimitReader(resp.Body, maxError)) // of what broke off the beginning may tell enough
		f.put(ctx, piece{response: resp, bytes: body})
		return
	}
	if !f.put(ctx, piece{response: resp}) {
		return
	}
	for {
		var b []byte
		select {
		case b = <-f.free:
		case <-ctx.Done():
			return
		}
		n, err := resp.Body.Read(b[:cap(b)])
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

// streams tells whether an answer is what a client that streams is waiting for.
func (r *Response) streams(answer *http.Response) bool {
	return answer.StatusCode == http.StatusOK && r.Origin.Dialect.IsStream(answer.Header.Get("Content-Type"))
}
