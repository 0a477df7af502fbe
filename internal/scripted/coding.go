package scripted

import (
	"bytes"
	"io"
	"maps"
	"net/http"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
)

// encoder is a content coding at work.
type encoder interface {
	io.WriteCloser
	Flush() error
}

// Encode is an encoder for a content coding: gzip, deflate, br or zstd. Any other leaves the bytes as they are.
func Encode(coding string, w io.Writer) encoder {
	switch coding {
	case "gzip":
		return gzip.NewWriter(w)
	case "deflate":
		return zlib.NewWriter(w)
	case "br":
		return brotli.NewWriter(w)
	case "zstd":
		z, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1))
		if err != nil {
			panic(err) // never, with this option
		}
		return z
	}
	return plain{w}
}

type plain struct{ io.Writer }

func (plain) Close() error { return nil }
func (plain) Flush() error { return nil }

// Encoded sends the body with a content coding, asked for or not. Each piece of a stream can be read as soon as it has come.
func (a Answer) Encoded(coding string) Answer {
	a.coding = coding
	return a
}

// encoded is the response with the answer's content coding.
func (a Answer) encoded(res response) response {
	if a.coding == "" {
		return res
	}
	if res.header = maps.Clone(res.header); res.header == nil {
		res.header = http.Header{}
	}
	res.header.Set("Content-Encoding", a.coding)
	res.length = -1
	body := res.body
	res.body = func(yield func([]byte) bool) {
		var b bytes.Buffer
		w := Encode(a.coding, &b)
		out := func(end func() error) bool {
			err := end()
			piece := bytes.Clone(b.Bytes())
			b.Reset()
			return err == nil && (len(piece) == 0 || yield(piece))
		}
		for piece := range body {
			_, err := w.Write(piece)
			if err != nil || !out(w.Flush) {
				return
			}
		}
		out(w.Close)
	}
	return res
}
