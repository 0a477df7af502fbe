package coding

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
)

// encoders are the content codings, and the deflate that is none of zlib's.
var encoders = map[string]func(io.Writer) (io.WriteCloser, error){
	"gzip":        func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil },
	"deflate":     func(w io.Writer) (io.WriteCloser, error) { return zlib.NewWriter(w), nil },
	"raw deflate": func(w io.Writer) (io.WriteCloser, error) { return flate.NewWriter(w, 6) },
	"br":          func(w io.Writer) (io.WriteCloser, error) { return brotli.NewWriter(w), nil },
	"zstd":        func(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) },
}

func codedAs(t testing.TB, coding string, body []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := encoders[coding](&b)
	require.NoError(t, err)
	_, err = w.Write(body)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return b.Bytes()
}

const maxErrorBody = 1 << 20

func decoded(body []byte, header string) []byte {
	b, _ := Decode(body, header, maxErrorBody)
	return b
}

func TestDecoded(t *testing.T) {
	body := []byte(`{"error":{"code":"insufficient_quota","message":"` + strings.Repeat("credit ", 2000) + `"}}`)
	for coding := range encoders {
		t.Run(coding, func(t *testing.T) {
			name := strings.TrimPrefix(coding, "raw ")
			once := codedAs(t, coding, body)
			require.Equal(t, body, decoded(once, name))
			require.Equal(t, body, decoded(once, " "+strings.ToUpper(name)+" , identity"))
			require.Equal(t, body, decoded(codedAs(t, "gzip", once), name+", gzip"), "the last one was applied last")
			require.Empty(t, decoded(once[:len(once)/2], name), "cut off")
			require.Empty(t, decoded(body, name), "not encoded at all")
			require.Empty(t, decoded(nil, name))
			require.Len(t, decoded(codedAs(t, coding, make([]byte, maxErrorBody)), name), maxErrorBody)
			require.Nil(t, decoded(codedAs(t, coding, make([]byte, maxErrorBody+1)), name), "larger than what is judged")
			require.Nil(t, decoded(codedAs(t, coding, make([]byte, 24<<20)), name), "a bomb")
		})
	}
	require.Equal(t, body, decoded(body, ""))
	require.Equal(t, body, decoded(body, "identity"))
	require.Equal(t, body, decoded(codedAs(t, "gzip", body), "x-gzip"))
	require.Nil(t, decoded(body, "compress"))
	require.Nil(t, decoded(body, "gzip, gzip, gzip"))
}

// A decoder never has to hold much, whatever the stream says that it needs.
func TestDecoderHoldsLittle(t *testing.T) {
	var b bytes.Buffer
	w, err := zstd.NewWriter(&b, zstd.WithWindowSize(64<<20))
	require.NoError(t, err)
	_, err = io.Copy(w, io.LimitReader(strings.NewReader(strings.Repeat("x", 9<<20)), 9<<20))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	require.Nil(t, decoded(b.Bytes(), "zstd"))

	large := codedAs(t, "br", []byte("x"))
	b.Reset()
	bw := brotli.NewWriterOptions(&b, brotli.WriterOptions{Quality: 5, LGWin: 24})
	_, err = bw.Write(bytes.Repeat([]byte("xy"), 1<<20))
	require.NoError(t, err)
	require.NoError(t, bw.Close())
	require.Nil(t, decoded(b.Bytes(), "br"))
	require.Equal(t, "x", string(decoded(large, "br")))
}

func FuzzDecoded(f *testing.F) {
	for coding := range encoders {
		f.Add(codedAs(f, coding, []byte(`{"error":{}}`)), strings.TrimPrefix(coding, "raw "))
	}
	f.Add([]byte("x"), "gzip, br")
	f.Add([]byte("x"), ",,identity,compress")
	f.Fuzz(func(t *testing.T, body []byte, header string) {
		_, known := Names(header)
		got := decoded(body, header)
		require.LessOrEqual(t, len(got), max(maxErrorBody, len(body)))
		if !known {
			require.Nil(t, got)
		}
	})
}
