package mcp

import (
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
)

// The waits between two streams of a listener: doubled with each that brought nothing.
const (
	minListenWait = time.Second
	maxListenWait = time.Minute
)

// listen reads the stream on which a server sends what belongs to no request: that its list of tools changed, and pings, without whose answers
// some servers end the session. Servers need not have it. The SDK's own would block the connect on a server that hangs, and would end the session,
// with the calls in it, when the stream fails a few times. It returns when the session ends or the server has no such stream.
// https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#listening-for-messages-from-the-server
func (s *session) listen() {
	var from string
	var opened bool
	wait := minListenWait
	for {
		l, err := s.listenOnce(&from)
		if s.hear.Err() != nil {
			return
		}
		var answer *answerError
		if refused := errors.As(err, &answer); refused && !opened && answer.status < 500 {
			return // 405, or what servers answer instead
		}
		opened = opened || l.opened
		if !l.opened {
			s.suspect() // the server is down, or forgot the session: a request will tell
		}
		if l.events > 0 {
			wait = minListenWait
		}
		if !sleep(s.hear, s.clock, max(wait, l.retry)) {
			return
		}
		wait = min(2*wait, maxListenWait)
	}
}

// listened is what one stream brought.
type listened struct {
	opened bool
	events int
	retry  time.Duration // the server's wish for the wait before the next; 0: none
}

// listenOnce reads one stream to its end. from is the id of the last event, to resume after.
func (s *session) listenOnce(from *string) (l listened, err error) {
	req, err := http.NewRequestWithContext(s.hear, http.MethodGet, s.cfg.URL, nil)
	if err != nil {
		return l, err
	}
	req.Header.Set("Accept", "text/event-stream")
	if id := s.tap.SessionID(); id != "" {
		req.Header.Set("Mcp-Session-Id", id)
	}
	if *from != "" {
		req.Header.Set("Last-Event-Id", *from)
	}
	resp, err := s.http.Do(req)
	if err != nil {
		return l, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return l, &answerError{status: resp.StatusCode}
	}
	l.opened = true
	events := newEventReader(resp.Body, eventBytes)
	for {
		e, err := events.next()
		if err != nil {
			return l, err
		}
		l.events++
		if e.hasID {
			*from = e.id
		}
		if e.retry > 0 {
			l.retry = e.retry
		}
		if !e.message() {
			continue
		}
		msg, err := jsonrpc.DecodeMessage(e.data)
		if err != nil || !s.tap.bring(msg, nil) {
			return l, io.ErrUnexpectedEOF
		}
	}
}
