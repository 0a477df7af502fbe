package slowclients

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

// Client is one connection, and when it is read. What is sent and not read fills real buffers of the kernel, so time is real here.
type Client struct {
	HTTP2 bool          // by prior knowledge, with windows that no answer fills; else HTTP/1.1, and its requests are pipelined
	Pause time.Duration // from the first request to the first read; Never: the connection is never read
}

// Never is the pause of a client that does not read at all.
const Never = time.Duration(-1)

// between is from the first request to the others, where the connection is not read at once: the first answer fills the buffers.
const between = time.Second

// narrow and wide are the receive buffers of a client that does not read, and of one that does, in bytes.
const (
	narrow = 4 << 10
	wide   = 4 << 20
)

// Run sends the asks over one connection to address and returns when all answers are read, with what is wrong with them. The first
// one is sent alone. A client that never reads returns nil when ctx ends.
func (c Client) Run(ctx context.Context, address string, asks ...Ask) error {
	asks = slices.Clone(asks)
	for i := range asks {
		asks[i] = asks[i].named()
	}
	conn, err := c.dial(ctx, address)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	work, ctx := errgroup.WithContext(ctx)
	work.Go(func() error {
		if wait(ctx, c.Pause) {
			conn.read()
		}
		return nil
	})
	work.Go(func() error {
		if c.HTTP2 {
			return c.http2(ctx, conn, address, asks)
		}
		return c.http1(ctx, conn, address, asks)
	})
	err = work.Wait()
	if c.Pause == Never {
		return nil
	}
	return err
}

// wait reports whether d has passed before ctx ended.
func wait(ctx context.Context, d time.Duration) bool {
	if d == Never {
		<-ctx.Done()
		return false
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (c Client) http1(ctx context.Context, conn net.Conn, address string, asks []Ask) error {
	for i, a := range asks {
		if i == 1 && c.Pause != 0 && !wait(ctx, between) {
			return ctx.Err()
		}
		req, err := a.request("http://" + address)
		if err != nil {
			return err
		}
		var b bytes.Buffer
		if err := req.Write(&b); err != nil {
			return err
		}
		if _, err := conn.Write(b.Bytes()); err != nil {
			return fmt.Errorf("request %d: %w", i, err)
		}
	}
	r := bufio.NewReaderSize(conn, 64<<10)
	for i, a := range asks {
		resp, err := http.ReadResponse(r, nil)
		if err == nil {
			err = a.check(resp)
		}
		if err != nil {
			return fmt.Errorf("answer %d: %w", i, err)
		}
	}
	return nil
}

func (c Client) http2(ctx context.Context, conn net.Conn, address string, asks []Ask) error {
	transport := &http.Transport{
		Protocols: new(http.Protocols), DisableCompression: true,
		HTTP2:       &http.HTTP2Config{MaxReceiveBufferPerStream: 1 << 30, MaxReceiveBufferPerConnection: 1 << 30},
		DialContext: func(context.Context, string, string) (net.Conn, error) { return conn, nil },
	}
	transport.Protocols.SetUnencryptedHTTP2(true)
	client, err := transport.NewClientConn(ctx, "http", address)
	if err != nil {
		return err
	}
	defer client.Close()
	work, ctx := errgroup.WithContext(ctx)
	for i, a := range asks {
		if i == 1 && c.Pause != 0 && !wait(ctx, between) {
			break
		}
		req, err := a.request("http://" + address)
		if err != nil {
			return err
		}
		work.Go(func() error {
			resp, err := client.RoundTrip(req.WithContext(ctx))
			if err == nil {
				err = a.check(resp)
			}
			if err != nil {
				return fmt.Errorf("answer %d: %w", i, err)
			}
			return nil
		})
	}
	return work.Wait()
}

// gated is a connection that is not read before read is called.
type gated struct {
	*net.TCPConn
	open, closed        chan struct{}
	openOnce, closeOnce sync.Once
}

func (c Client) dial(ctx context.Context, address string) (*gated, error) {
	var d net.Dialer
	if c.Pause != 0 { // before the connection is made: the window that it begins with counts
		d.Control = func(_, _ string, raw syscall.RawConn) error {
			var err error
			return errors.Join(raw.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, narrow) }), err)
		}
	}
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return &gated{TCPConn: conn.(*net.TCPConn), open: make(chan struct{}), closed: make(chan struct{})}, nil
}

func (g *gated) read() {
	g.openOnce.Do(func() {
		_ = g.SetReadBuffer(wide) // a narrow one works too
		close(g.open)
	})
}

func (g *gated) Read(p []byte) (int, error) {
	select {
	case <-g.open:
		return g.TCPConn.Read(p)
	case <-g.closed:
		return 0, net.ErrClosed
	}
}

func (g *gated) Close() error {
	g.closeOnce.Do(func() { close(g.closed) })
	return g.TCPConn.Close()
}
