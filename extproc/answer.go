package extproc

import (
	"bytes"
	"slices"

	"github.com/keyturn/keyturn/internal/agent"
	"github.com/keyturn/keyturn/internal/coding"
	"github.com/keyturn/keyturn/internal/dialect"
	"github.com/keyturn/keyturn/internal/redact"
	"github.com/keyturn/keyturn/internal/wire"
	"github.com/keyturn/keyturn/keypool"
)

// This file has how an answer of a request with tools is read, which need not be what it says that it is, nor what was asked for.

// readAnswer asks for the body of an answer that may have calls of Keyturn's tools in it: whatever it is said to be, the client must not see
// them. A stream may come under any name but that of JSON, and JSON in the place of a stream.
func (x *exchange) readAnswer(m *message, r *agent.Response) {
	x.tools.coded = coded{header: m.joined("content-encoding")}
	if _, known := coding.Names(x.tools.coded.header); !known {
		x.cannotRead(unreadable)
		return
	}
	mode := modes{set: true, request: x.bodyMode}
	isJSON := bytes.Contains(bytes.ToLower(m.header("content-type")), []byte("json"))
	switch {
	case r.Streams() && !isJSON:
		x.shape, mode.response = streaming, bodyDuplex
		x.tools.plain = redact.NewStream(x.pool.secrets)
		x.mut.remove("content-length")
		if x.tools.coded.codes() {
			x.tools.decoder = coding.NewStream(x.tools.coded.header)
			x.mut.remove("content-encoding")
		}
	case contentLength(m) <= x.pool.maxBody:
		x.shape, mode.response = wholeBody, x.readable(m)
	default:
		x.finalReply(m.kind)
		return
	}
	x.out.pass(m.kind, &x.mut, mode, nil)
}

// streamed takes what has come of a stream, a piece at a time: what goes to the client next is in x.chunk, and while more is unread
// x.streamedOn is to be called once that is sent. So a client that does not read holds one piece, not all that has come.
func (x *exchange) streamed(body []byte, end bool) due {
	t := x.tools
	if t.last = end; t.decoder != nil {
		t.decoder.Feed(body, end)
		return x.streamedOn()
	}
	pass, found := t.plain.Next(body)
	if end {
		rest, more := t.plain.End()
		pass, found = append(pass[:len(pass):len(pass)], rest...), found || more
	}
	x.found[echoBody] = x.found[echoBody] || found
	t.rest = pass
	return x.streamedOn()
}

// hasRest reports whether what has come of a stream is not all read yet.
func (x *exchange) hasRest() bool {
	t := x.tools
	return len(t.rest) > 0 || t.decoder != nil && t.decoder.More()
}

// streamedOn takes the next piece of what has come.
func (x *exchange) streamedOn() due {
	t := x.tools
	var failed bool
	if x.chunk, failed = x.takePiece(x.nextPiece()); failed {
		var ok bool
		x.chunk, ok = t.response.HandOn(x.chunk, x.faults)
		failed = !ok
	}
	switch {
	case failed:
	case len(t.whole) > maxUntold:
		x.shape = drained
		x.chunk = t.response.Fail(x.chunk, untold)
		return dueLastPiece
	case x.hasRest():
		return duePiece
	case t.decoder != nil && t.decoder.Err() != nil:
		x.shape = drained
		x.chunk = t.response.Fail(x.chunk, unreadable)
		return dueLastPiece
	case !t.last:
		return duePiece
	case t.decoder != nil:
		rest, found := t.plain.End()
		x.found[echoBody] = x.found[echoBody] || found
		if len(t.whole) > 0 {
			t.whole = append(t.whole, rest...)
		} else {
			x.chunk, _ = t.response.Write(x.chunk, rest)
		}
	}
	t.rest = nil // of a stream that fails nothing more is wanted
	x.shape = drained
	if len(t.whole) > 0 {
		if t.more = t.response.Whole(t.whole); t.more {
			return dueTurns
		}
		x.chunk = append(x.chunk, t.response.Body()...)
		return dueLastPiece
	}
	if x.chunk, t.more = t.response.End(x.chunk); t.more {
		return dueTurns
	}
	return dueLastPiece
}

// nextPiece is the next of what has come, without its codings and without keys.
func (x *exchange) nextPiece() []byte {
	t := x.tools
	if t.decoder == nil {
		p := t.rest[:min(len(t.rest), maxChunk)]
		t.rest = t.rest[len(p):]
		return p
	}
	p, found := t.plain.Next(t.decoder.Piece())
	x.found[echoBody] = x.found[echoBody] || found
	return p
}

// maxUntold bounds a JSON answer that nothing says is one, in bytes.
const maxUntold = 1 << 20

// takePiece hands a piece to the response. What begins like JSON is no stream, and is kept until it is whole.
func (x *exchange) takePiece(p []byte) (out []byte, failed bool) {
	t := x.tools
	if !t.told && len(t.whole) == 0 {
		begin := bytes.TrimLeft(bytes.TrimPrefix(p, []byte("\xef\xbb\xbf")), " \t\r\n")
		t.told = len(begin) > 0 && begin[0] != '{' && begin[0] != '['
		if len(begin) == 0 || t.told {
			return t.response.Write(x.chunk[:0], p)
		}
	}
	if t.told {
		return t.response.Write(x.chunk[:0], p)
	}
	t.whole = append(t.whole, p...)
	return x.chunk[:0], false
}

// faults reports whether a failure that came within a 200 is a key's fault, and so the turn may run again.
func (x *exchange) faults(f *dialect.Failure) bool {
	if x.key == nil {
		return false
	}
	doubted := x.doubted
	v := x.classify(keypool.Answer{Status: f.Status, Body: f.Body, Now: x.judged})
	x.doubted = doubted
	return v.Action != keypool.Surface
}

// showsOwn reports whether an answer that cannot be read names a tool of Keyturn's: the client cannot run it.
func (x *exchange) showsOwn(body []byte) bool {
	if begin := bytes.TrimLeft(body, " \t\r\n"); len(begin) > 0 && begin[0] == '{' {
		return false
	}
	return bytes.Contains(body, []byte(wire.ToolPrefix)) || slices.ContainsFunc(x.tools.offered, func(t dialect.Tool) bool { return bytes.Contains(body, []byte(t.Name)) })
}
