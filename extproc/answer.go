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
