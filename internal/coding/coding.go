// Package coding takes the content codings of HTTP off bodies (RFC 9110, section 8.4), within bounds: what comes of a body is as hostile as
// the body.
package coding

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
)

// Bounds of what a decoder holds.
const (
	maxCodings = 2       // one upon the other
	maxWindow  = 8 << 20 // of zstd, in bytes, and as much as RFC 9659 allows
	maxWBITS   = 22      // of brotli: 4 MiB
)

// Why a body cannot be decoded.
var (
	ErrUnknown = errors.New("a content coding that is not known, or too many of them")
	ErrSize    = errors.New("more comes of the body than it may")
)

// openers make a reader for each content coding (RFC 9110, section 8.4.1, and the registry that it names).
var openers = map[string]func(*bufio.Reader) (io.Reader, error){
	"gzip":    func(r *bufio.Reader) (io.Reader, error) { return gzip.NewReader(r) },
	"deflate": openDeflate,
	"br":      openBrotli,
	"zstd":    openZstd,
}

// openDeflate reads what deflate means (RFC 1950), and what some servers take it for (RFC 1951 alone).
func openDeflate(r *bufio.Reader) (io.Reader, error) {
	if b, err := r.Peek(2); err == nil && b[0]&0x0f == 8 && (uint16(b[0])<<8|uint16(b[1]))%31 == 0 {
		return zlib.NewReader(r)
	}
	return flate.NewReader(r), nil
}

func openZstd(r *bufio.Reader) (io.Reader, error) {
	d, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderMaxMemory(maxWindow))
	if err != nil {
		return nil, err
	}
	return d.IOReadCloser(), nil
}

// openBrotli refuses a window above the bound: the stream's first bits say how large it is (RFC 7932, section 9.1).
func openBrotli(r *bufio.Reader) (io.Reader, error) {
	b, err := r.Peek(1)
	if err != nil || b[0]&1 == 1 && 17+b[0]>>1&7 > maxWBITS {
		return nil, io.ErrUnexpectedEOF
	}
	return brotli.NewReader(r), nil
}

// Names are the content codings of a body, in the order in which they were applied, by its header; none for identity. It is not ok when
// one of them is not known.
func Names(header string) (names []string, ok bool) {
	for name := range strings.SplitSeq(header, ",") {
		switch name = strings.ToLower(strings.TrimSpace(name)); name {
		case "", "identity":
			continue
		case "x-gzip":
			name = "gzip"
		}
		if openers[name] == nil || len(names) == maxCodings {
			return nil, false
		}
		names = append(names, name)
	}
	return names, true
}

// reader is a body without its codings.
type reader struct {
	io.Reader
	closers []io.Closer
}

// NewReader reads r without the codings of its header. The first bytes are read at once. Close gives back what decoders hold, and leaves r.
func NewReader(r io.Reader, header string) (io.ReadCloser, error) {
	names, ok := Names(header)
	if !ok {
		return nil, ErrUnknown
	}
	d := &reader{Reader: r}
	for _, name := range slices.Backward(names) {
		next, err := openers[name](bufio.NewReader(d.Reader))
		if err != nil {
			_ = d.Close()
			return nil, err
		}
		if c, ok := next.(io.Closer); ok {
			d.closers = append(d.closers, c)
		}
		d.Reader = next
	}
	return d, nil
}

// Close implements io.Closer.
func (d *reader) Close() error {
	for _, c := range d.closers {
		_ = c.Close() // it only gives back what it holds
	}
	return nil
}

// Size is how many bytes a body has without its codings, of which none are kept: at most limit.
func Size(body []byte, header string, limit int64) (int64, error) {
	d, err := NewReader(bytes.NewReader(body), header)
	if err != nil {
		return 0, err
	}
	defer d.Close()
	n, err := io.Copy(io.Discard, io.LimitReader(d, limit+1))
	if err == nil && n > limit {
		err = ErrSize
	}
	return n, err
}

// Decode is a body without its codings: at most limit bytes.
func Decode(body []byte, header string, limit int64) ([]byte, error) {
	d, err := NewReader(bytes.NewReader(body), header)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	body, err = io.ReadAll(io.LimitReader(d, limit+1))
	if err == nil && int64(len(body)) > limit {
		return nil, ErrSize
	}
	if err != nil {
		return nil, err
	}
	return body, nil
}

// DecodeSized is a body without its codings that has size bytes: what Size found.
func DecodeSized(body []byte, header string, size int64) ([]byte, error) {
	d, err := NewReader(bytes.NewReader(body), header)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	whole := make([]byte, size)
	_, err = io.ReadFull(d, whole)
	return whole, err
}
