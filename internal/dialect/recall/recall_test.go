package recall_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/dialect/recall"
)

// TestDigests holds that rows of pieces have one digest only if they are the same pieces.
func TestDigests(t *testing.T) {
	digest := func(pieces ...string) string {
		h := recall.NewHasher()
		h.Add([]byte("before"))
		h.Reset()
		for _, p := range pieces {
			h.Add([]byte(p))
		}
		d := h.Digest()
		require.Equal(t, d, h.Digest(), "reading it changes nothing")
		return d.String()
	}
	seen := map[string][]string{}
	for _, row := range [][]string{{}, {""}, {"", ""}, {"ab"}, {"a", "b"}, {"b", "a"}, {"ab", ""}, {"", "ab"}, {"a", "", "b"}, {"\x01\x00\x00\x00\x00\x00\x00\x00a"}} {
		d := digest(row...)
		require.Regexp(t, `^[A-Za-z0-9_-]{43}$`, d)
		require.NotContains(t, seen, d, "%q", row)
		seen[d] = row
		require.Equal(t, d, digest(row...))
	}
}

func TestRecord(t *testing.T) {
	var r recall.Record
	r.AddList("none", nil)
	require.Empty(t, r, "a list of nothing is left out")
	r.Add(`a"b`, []byte(`1`))
	r.AddList("list", []byte(`1,{"x":2}`))
	r.Add("last", []byte(`null`))
	require.Equal(t, `{"a\"b":1,"list":[1,{"x":2}],"last":null}`, string(r))
	require.True(t, json.Valid(r))
}

// TestSqueeze holds that a text's digest is that of all its characters, and of nothing between them.
func TestSqueeze(t *testing.T) {
	digest := func(pieces ...string) string {
		h, n := recall.NewHasher(), 0
		for _, p := range pieces {
			n += h.Squeeze(p)
		}
		h.Squeezed(n)
		d := h.Digest()
		return d.String()
	}
	long := strings.Repeat("é a", 400) // more than is hashed at a time
	require.Equal(t, digest(long), digest(" "+strings.ReplaceAll(long, " ", "\n\t")+"\u00a0"))
	for at := range long { // between characters
		require.Equal(t, digest(long), digest(long[:at], long[at:]), "%d", at)
	}
	seen := map[string]bool{}
	for i := range len(long) {
		if long[i] == 'a' {
			d := digest(long[:i] + "b" + long[i+1:])
			require.False(t, seen[d], "%d", i)
			seen[d] = true
		}
	}
	require.NotContains(t, seen, digest(long))
	require.NotEqual(t, digest("ab"), digest("a"))
	h := recall.NewHasher()
	require.Equal(t, 3, h.Squeeze(" é b "))
}
