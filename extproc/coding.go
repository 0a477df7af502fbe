package extproc

import (
	"bytes"
	"io"
	"slices"
	"strings"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
)

// Bounds of decoding a body, beside maxErrorBody for what comes of it.
const (
	maxCodings = 2       // one upon the other
	maxWindow  = 8 << 20 // of zstd, in bytes: what a decoder has to hold, and as much as RFC 9659 allows
	maxWBITS   = 22      // of brotli: 4 MiB
)

// openers make a reader for each content coding (RFC 9110, section 8.4.1, and the registry that it names).
var openers = map[string]func([]byte) (io.Reader, error){
	"gzip":    func(b []byte) (io.Reader, error) { return gzip.NewReader(bytes.NewReader(b)) },
	"deflate": openDeflate,
	"br":      openBrotli,
	"zstd":    openZstd,
}

// openDeflate reads what deflate means (RFC 1950), and what some servers take it for (RFC 1951 alone).
func openDeflate(b []byte) (io.Reader, error) {
	if len(b) > 1 && b[0]&0x0f == 8 && (uint16(b[0])<<8|uint16(b[1]))%31 == 0 {
		return zlib.NewReader(bytes.NewReader(b))
	}
	return flate.NewReader(bytes.NewReader(b)), nil
}

func openZstd(b []byte) (io.Reader, error) {
	d, err := zstd.NewReader(bytes.NewReader(b), zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderMaxMemory(maxWindow))
	if err != nil {
		return nil, err
	}
	return d.IOReadCloser(), nil
}

// openBrotli refuses a window above the bound: the stream's first bits say how large it is (RFC 7932, section 9.1).
func openBrotli(b []byte) (io.Reader, error) {
	if len(b) == 0 || b[0]&1 == 1 && 17+b[0]>>1&7 > maxWBITS {
		return nil, io.ErrUnexpectedEOF
	}
	return brotli.NewReader(bytes.NewReader(b)), nil
}

// codings are the content codings of a body, in the order in which they were applied. It is not ok when one of them is not known.
func codings(header string) (names []string, ok bool) {
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

// decoded is an error body without its content codings, nil where they cannot be taken off, or what comes of it is larger than maxErrorBody.
func decoded(body []byte, header string) []byte {
	names, ok := codings(header)
	if !ok {
		return nil
	}
	for _, name := range slices.Backward(names) {
		r, err := openers[name](body)
		if err != nil {
			return nil
		}
		body, err = io.ReadAll(io.LimitReader(r, maxErrorBody+1))
		if c, ok := r.(io.Closer); ok {
			_ = c.Close() // it gives back what it holds
		}
		if err != nil || len(body) > maxErrorBody {
			return nil
		}
	}
	return body
}
