package recall_test

import (
	"encoding/json"
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
