package sse_test

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/sse"
)

// tokens are what streams are made of; a random row of them meets the corners that random bytes miss.
var tokens = []string{
	"\n", "\r", "\r\n", "\n\n", "data", "data:", "data: ", "event:", "event: a", "id", "id: 7", "id:\x00", "retry: 12", "retry:x", ":", ": c",
	" ", "x", "xyz", "\x00", bom, bom[:1], bom[1:], "é", "data:x\n\n", "data:x\r\n\r\n", "data:x\r\r", "event: a\ndata: {}\n\n",
}

// cutUp is the stream in pieces of random sizes, some of them empty.
func cutUp(r *rand.Rand, stream string) []string {
	pieces := []string{}
	for most := 1 + r.IntN(12); len(stream) > 0; {
		n := min(r.IntN(most+1), len(stream))
		pieces, stream = append(pieces, stream[:n]), stream[n:]
	}
	return pieces
}

// anyCut checks that the events of a stream do not depend on where it is cut, nor does what happens at a limit.
func anyCut(t *testing.T, r *rand.Rand, stream string, limits sse.Limits) {
	t.Helper()
	whole := decode(t, limits, stream)
	same(t, whole, decode(t, limits, bytewise(stream, 1)...))
	same(t, whole, decode(t, limits, cutUp(r, stream)...))
	if n := len(stream); n > 0 {
		at := r.IntN(n)
		same(t, whole, decode(t, limits, stream[:at], stream[at:]))
	}
}

func TestAnyCutOfAnyStream(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	failed := 0
	for range 5000 {
		var text strings.Builder
		for range r.IntN(30) {
			text.WriteString(tokens[r.IntN(len(tokens))])
		}
		stream := text.String()
		anyCut(t, r, stream, sse.Limits{})
		limits := sse.Limits{LineBytes: 1 + r.IntN(12), EventBytes: 1 + r.IntN(30)}
		anyCut(t, r, stream, limits)
		require.Equal(t, slow(stream), decode(t, sse.Limits{}, stream).events)
		if decode(t, limits, stream).err != nil {
			failed++
		}
	}
	require.Greater(t, failed, 1000, "the limits are met")
	require.Less(t, failed, 4900, "not always")
}

func FuzzChunking(f *testing.F) {
	for i, tc := range cases {
		f.Add(tc.stream, uint64(i), uint8(0), uint8(0))
		f.Add(tc.stream, uint64(i), uint8(i), uint8(3*i))
	}
	f.Fuzz(func(t *testing.T, stream string, seed uint64, line, event uint8) {
		anyCut(t, rand.New(rand.NewPCG(seed, 0)), stream, sse.Limits{LineBytes: int(line), EventBytes: int(event)})
	})
}

func FuzzAgainstSlow(f *testing.F) {
	for _, tc := range cases {
		f.Add(tc.stream)
	}
	f.Fuzz(func(t *testing.T, stream string) {
		read := decode(t, sse.Limits{}, stream)
		require.NoError(t, read.err)
		require.Equal(t, slow(stream), read.events)
		if cut := len(stream) / 2; cut > 0 {
			require.Equal(t, slow(stream), decode(t, sse.Limits{}, stream[:cut], stream[cut:]).events)
		}
	})
}

func FuzzEncode(f *testing.F) {
	f.Add("response.created", "{\n  \"a\": 1\r\n}", "keep-alive")
	f.Add("a\r", "", "\n")
	f.Fuzz(encoded)
}
