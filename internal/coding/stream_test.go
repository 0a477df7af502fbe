package coding

import (
	"bytes"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// through feeds a stream in pieces.
func through(s *Stream, pieces ...[]byte) (out []byte) {
	for i, p := range pieces {
		p := bytes.Clone(p)
		s.Feed(p, i == len(pieces)-1)
		for s.More() {
			out = append(out, s.Piece()...)
		}
		clear(p) // it is the caller's again
	}
	return out
}

func TestStream(t *testing.T) {
	body := []byte(strings.Repeat("data: {\"some\":\"event\",\"n\":1234567}\n\n", 5000))
	r := rand.New(rand.NewPCG(1, 2))
	for coding := range encoders {
		t.Run(coding, func(t *testing.T) {
			header := strings.TrimPrefix(coding, "raw ")
			sent := codedAs(t, coding, body)
			for _, most := range []int{1, 7, 1000, len(sent)} {
				var pieces [][]byte
				for rest := sent; len(rest) > 0; {
					n := 1 + r.IntN(min(most, len(rest)))
					pieces, rest = append(pieces, rest[:n]), rest[n:]
				}
				s := NewStream(header)
				got := through(s, append(pieces, nil)...)
				require.NoError(t, s.Err())
				require.True(t, bytes.Equal(body, got))
				s.Stop()
				s.Stop()
			}
			s := NewStream(header)
			through(s, sent[:len(sent)/2], nil)
			require.Error(t, s.Err(), "cut off")
			s.Stop()
			s = NewStream(header)
			through(s, sent[:len(sent)/2])
			s.Stop() // in the middle
			s = NewStream(header)
			through(s, codedAs(t, coding, make([]byte, 200<<20)))
			require.ErrorIs(t, s.Err(), ErrSize)
			s.Stop()
			NewStream(header).Stop()
		})
	}
	s := NewStream("compress")
	require.Empty(t, through(s, []byte("x")))
	require.ErrorIs(t, s.Err(), ErrUnknown)
	s = NewStream("")
	require.Equal(t, "abc", string(through(s, []byte("a"), []byte("bc"))))
	s.Stop()
}

// What has come can be read at once where the provider flushes, as it does after each event.
func TestStreamIsNotLate(t *testing.T) {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	s := NewStream("gzip")
	defer s.Stop()
	for range 100 {
		_, err := io.WriteString(w, "data: one\n\n")
		require.NoError(t, err)
		require.NoError(t, w.Flush())
		s.Feed(b.Bytes(), false)
		var got []byte
		for s.More() {
			got = append(got, s.Piece()...)
		}
		require.Equal(t, "data: one\n\n", string(got))
		b.Reset()
	}
}

func TestSize(t *testing.T) {
	sent := codedAs(t, "gzip", make([]byte, 1000))
	n, err := Size(sent, "gzip", 1000)
	require.NoError(t, err)
	require.Equal(t, int64(1000), n)
	whole, err := DecodeSized(sent, "gzip", n)
	require.NoError(t, err)
	require.Equal(t, make([]byte, 1000), whole)
	_, err = Size(sent, "gzip", 999)
	require.ErrorIs(t, err, ErrSize)
	_, err = Size(sent, "gzip, gzip, gzip", 1000)
	require.ErrorIs(t, err, ErrUnknown)
}

func FuzzStream(f *testing.F) {
	for coding := range encoders {
		f.Add(codedAs(f, coding, []byte("data: {}\n\n")), strings.TrimPrefix(coding, "raw "), uint8(3))
	}
	f.Fuzz(func(t *testing.T, body []byte, header string, cut uint8) {
		s := NewStream(header)
		defer s.Stop()
		at := min(int(cut), len(body))
		got := through(s, body[:at], body[at:])
		whole, err := Decode(body, header, 1<<30)
		if err == nil && s.Err() == nil {
			require.True(t, bytes.Equal(whole, got))
		}
	})
}
