package rawjson

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var jsonTexts = []string{
	`{}`, `[]`, `""`, `0`, `-0`, `1.5e+7`, `true`, `false`, `null`, ` { "a" : [ 1 , { } ] } `, `{"a":1,"a":2}`, `"\u00e9\n\\\""`,
	`"exactly7"`, `"exactly 8"`, `"a text Of more than sixteen bytes, with an é"`, `"seven b\\"`, `{"12345678":"12345678"}`,
	``, ` `, `{`, `}`, `[1,]`, `{"a":1,}`, `{"a"}`, `{a:1}`, `{"a":}`, `01`, `1.`, `.5`, `1e`, `+1`, `-`, `tru`, `nul`, `"a`, `"\x"`, `"\u12g4"`, `"\u123"`,
	"\"a\tb\"", "\"12345678\tb\"", `"a" "b"`, `1 2`, `[1 2]`, `{"a":1 "b":2}`, `{"a" 1}`, `[`, `["a"`, "\"\x00\"", `"12345678\`,
}

// TestValid compares with encoding/json.
func TestValid(t *testing.T) {
	for _, s := range jsonTexts {
		require.Equal(t, json.Valid([]byte(s)), Valid([]byte(s)), "%q", s)
	}
	require.False(t, Valid([]byte(strings.Repeat("[", 20_000)+strings.Repeat("]", 20_000))), "deeper than is read")
}

func FuzzValid(f *testing.F) {
	for _, s := range jsonTexts {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		want := json.Valid(b)
		require.Equal(t, want, Valid(b))
		object := want && IsObject(b)
		require.Equal(t, object, walk(b, func(_, _ Span) {}))
		if !object {
			return
		}
		n := 0
		for m := range Members(b, Whole(b)) {
			n++
			require.True(t, json.Valid(m.Val.Of(b)))
		}
		seen := 0
		require.True(t, walk(b, func(_, _ Span) { seen++ }))
		require.Equal(t, n, seen)
	})
}

func TestAppendString(t *testing.T) {
	for _, s := range []string{"", "a\"b\\c", "é\u2028<>&", "\x00\x1f\n", "\xff"} {
		var got string
		require.NoError(t, json.Unmarshal(AppendString(nil, s), &got))
		require.Equal(t, strings.ToValidUTF8(s, "\ufffd"), got)
	}
}
