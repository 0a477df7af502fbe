package scripted

import (
	"bufio"
	"context"
	"crypto/sha1" //nolint:gosec // RFC 6455, section 1.3, asks for SHA-1
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/keyturn/keyturn/internal/scripted/talk"
)

func isUpgrade(r *http.Request) bool {
	return strings.EqualFold(r.Header.Get("Upgrade"), "websocket") && r.Header.Get("Sec-Websocket-Key") != ""
}

// echo accepts a WebSocket (RFC 6455) and sends every message back, until the client closes it, leaves, or is silent for MaxHang.
func (x *exchange) echo() {
	conn, rw, err := x.rc.Hijack()
	if err != nil { // HTTP/2 has another way to open one (RFC 8441), which this provider does not speak
		x.send(x.failure(talk.Problem{Status: http.StatusNotImplemented, Type: "invalid_request_error", Message: "WebSocket needs HTTP/1.1"}))
		x.outcome = Complete
		return
	}
	defer conn.Close()
	defer context.AfterFunc(x.r.Context(), func() { _ = conn.Close() })()

	const guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
	sum := sha1.Sum([]byte(x.r.Header.Get("Sec-Websocket-Key") + guid)) //nolint:gosec // see the import
	x.status = http.StatusSwitchingProtocols
	fmt.Fprintf(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: %s\r\n",
		base64.StdEncoding.EncodeToString(sum[:]))
	for _, h := range x.a.headers {
		fmt.Fprintf(rw, "%s: %s\r\n", h.name, h.value)
	}
	_, _ = rw.WriteString("\r\n")
	x.outcome = Left
	if rw.Flush() == nil && x.echoFrames(conn, rw) {
		x.outcome = Complete
	}
}

// echoFrames sends frames back until the closing handshake, and then returns true.
func (x *exchange) echoFrames(conn net.Conn, rw *bufio.ReadWriter) bool {
	for {
		if conn.SetDeadline(time.Now().Add(x.p.cfg.MaxHang)) != nil {
			return false
		}
		f, err := readFrame(rw.Reader)
		if err != nil {
			return false
		}
		const closing, ping, pong = 0x8, 0x9, 0xA
		discard := f.opcode() == pong
		if f.opcode() == ping {
			f.first = f.first&0xF0 | pong
		}
		if f.reply(rw, discard) != nil || rw.Flush() != nil {
			return false
		}
		if f.opcode() == closing {
			return true
		}
		if !discard {
			x.sent += f.size
		}
	}
}

// frame is the head of a client's frame (RFC 6455, section 5.2). Its payload is still to be read.
type frame struct {
	first byte // FIN, RSV, opcode
	size  int64
	mask  [4]byte
}

func (f frame) opcode() byte { return f.first & 0x0F }

func readFrame(r io.Reader) (frame, error) {
	var head [2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return frame{}, err
	}
	f := frame{first: head[0], size: int64(head[1] & 0x7F)}
	switch f.size {
	case 126:
		var n uint16
		if err := binary.Read(r, binary.BigEndian, &n); err != nil {
			return f, err
		}
		f.size = int64(n)
	case 127:
		if err := binary.Read(r, binary.BigEndian, &f.size); err != nil {
			return f, err
		}
	}
	if f.size < 0 || head[1]&0x80 == 0 {
		return f, fmt.Errorf("frame of %d bytes, masked %t: a client's frame is masked", f.size, head[1]&0x80 != 0)
	}
	_, err := io.ReadFull(r, f.mask[:])
	return f, err
}

// reply sends the frame back without its mask, payload and all, or reads the payload away.
func (f frame) reply(rw *bufio.ReadWriter, discard bool) error {
	w := io.Writer(rw)
	if discard {
		w = io.Discard
	}
	head := []byte{f.first}
	switch {
	case f.size > 0xFFFF:
		head = binary.BigEndian.AppendUint64(append(head, 127), uint64(f.size))
	case f.size > 125:
		head = binary.BigEndian.AppendUint16(append(head, 126), uint16(f.size))
	default:
		head = append(head, byte(f.size)) // at most 125
	}
	if _, err := w.Write(head); err != nil {
		return err
	}
	var buf [4 << 10]byte
	for at := int64(0); at < f.size; {
		n, err := rw.Read(buf[:min(f.size-at, int64(len(buf)))])
		for i := range n {
			buf[i] ^= f.mask[(at+int64(i))%4]
		}
		at += int64(n)
		if _, werr := w.Write(buf[:n]); werr != nil {
			return werr
		}
		if err != nil {
			return err
		}
	}
	return nil
}
