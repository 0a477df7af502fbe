package scripted

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"time"
)

// A fault breaks an answer off. HTTP/2 knows no broken chunk and no garbage: there every fault but a hang is a reset of the
// stream.
type fault struct {
	where place
	what  harm
	after int           // pieces before a fault in the middle; 0: half of them
	hold  time.Duration // between what was sent and the fault, so that it arrives first
}

type place uint8

const (
	nowhere place = iota
	atStart
	afterHeaders
	midBody
)

type harm uint8

const (
	closes  harm = iota // the connection is closed in order (FIN)
	resets              // the connection is reset (RST)
	hangs               // nothing more, until the client leaves
	garbage             // bytes that are not HTTP
)

// ResetNow resets the connection without an answer.
func ResetNow() Answer { return OK("").broken("reset", atStart, resets) }

// CloseNow closes the connection without an answer.
func CloseNow() Answer { return OK("").broken("closed", atStart, closes) }

// Garbage answers with bytes that are not HTTP, and closes the connection.
func Garbage() Answer { return OK("").broken("garbage", atStart, garbage) }

// Hang gives no answer until the client leaves or Config.MaxHang is over; then it closes the connection.
func Hang() Answer { return OK("").broken("hang", atStart, hangs) }

// ResetAfterHeaders sends the headers of a and resets the connection. With Hold it waits in between; without, a client may see
// the reset before the headers.
func ResetAfterHeaders(a Answer) Answer {
	return a.broken("reset after the headers", afterHeaders, resets)
}

// HangAfterHeaders sends the headers of a and then nothing, like Hang.
func HangAfterHeaders(a Answer) Answer {
	return a.broken("hang after the headers", afterHeaders, hangs)
}

// ResetMidBody sends half of a and resets the connection: of a stream half of its events, of another body half of its bytes.
func ResetMidBody(a Answer) Answer { return a.broken("reset in the body", midBody, resets) }

// HangMidBody sends half of a and then nothing, like Hang.
func HangMidBody(a Answer) Answer { return a.broken("hang in the body", midBody, hangs) }

// Half sends half of a in chunks and closes the connection in order, without the chunk that ends a body.
func Half(a Answer) Answer { return a.broken("half", midBody, closes).Chunked() }

// CutAfter sends the first n events of a and closes the connection in order, without the chunk that ends a body. Of an answer without
// a stream it sends half, as Half does.
func CutAfter(n int, a Answer) Answer {
	a = a.broken(fmt.Sprintf("cut after %d events", n), midBody, closes).Chunked()
	a.fault.after = max(1, n)
	return a
}

// RefuseRead answers with a as soon as the request's headers are there, without reading the body: before the client has sent it
// whole. What is left of the body is read after the answer has been sent, up to 256 KiB; then the connection is closed.
// Chunked, EmptyStatus and OK with a stream give the variants.
func RefuseRead(a Answer) Answer {
	a.early = true
	a.name += ", before the body"
	return a
}

// Hold sets how long a fault waits, so that what was sent before it arrives first. It does nothing for answers that are whole.
func (a Answer) Hold(d time.Duration) Answer {
	a.fault.hold = d
	return a
}

func (a Answer) broken(name string, where place, what harm) Answer {
	if where != atStart {
		name = a.name + ", " + name
	}
	a.name, a.fault.where, a.fault.what = name, where, what
	return a
}

// strike breaks the exchange off. Where that ends the handler in a way that net/http would take for the answer's end, it panics;
// where the connection is gone it returns true.
func (x *exchange) strike() bool {
	x.pause(x.a.fault.hold)
	x.outcome = Cut
	if x.a.fault.what == hangs {
		x.hang()
	}
	if x.a.fault.what != resets && x.a.fault.what != garbage {
		panic(http.ErrAbortHandler)
	}
	conn, _, err := x.rc.Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if x.a.fault.what == garbage {
		_, _ = conn.Write([]byte("\x00\x01garbage\r\n\r\n"))
	} else if tcp := tcpOf(conn); tcp != nil {
		_ = tcp.SetLinger(0)
		conn = tcp // a TLS connection would say goodbye first
	}
	_ = conn.Close()
	return true
}

// hang waits for the client to leave, at most MaxHang.
func (x *exchange) hang() {
	t := time.NewTimer(x.p.cfg.MaxHang)
	defer t.Stop()
	select {
	case <-t.C:
	case <-x.r.Context().Done():
		x.outcome = Left
	}
}

func tcpOf(c net.Conn) *net.TCPConn {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	tcp, _ := c.(*net.TCPConn)
	return tcp
}
