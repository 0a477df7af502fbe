package dialect

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var jsonTexts = []string{
	`{}`, `[]`, `""`, `0`, `-0`, `1.5e+7`, `true`, `false`, `null`, ` { "a" : [ 1 , { } ] } `, `{"a":1,"a":2}`, `"\u00e9\n\\\""`,
	`"exactly7"`, `"exactly 8"`, `"a text of more than sixteen bytes, with an é"`, `"seven b\\"`, `{"12345678":"12345678"}`,
	``, ` `, `{`, `}`, `[1,]`, `{"a":1,}`, `{"a"}`, `{a:1}`, `{"a":}`, `01`, `1.`, `.5`, `1e`, `+1`, `-`, `tru`, `nul`, `"a`, `"\x"`, `"\u12g4"`, `"\u123"`,
	"\"a\tb\"", "\"12345678\tb\"", `"a" "b"`, `1 2`, `[1 2]`, `{"a":1 "b":2}`, `{"a" 1}`, `[`, `["a"`, "\"\x00\"", `"12345678\`,
}

// TestValidJSON compares with encoding/json.
func TestValidJSON(t *testing.T) {
	for _, s := range jsonTexts {
		require.Equal(t, json.Valid([]byte(s)), validJSON([]byte(s)), "%q", s)
	}
	require.False(t, validJSON([]byte(strings.Repeat("[", 20_000)+strings.Repeat("]", 20_000))), "deeper than is read")
}

func FuzzValidJSON(f *testing.F) {
	for _, s := range jsonTexts {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		want := json.Valid(b)
		require.Equal(t, want, validJSON(b))
		object := want && isObject(b)
		require.Equal(t, object, walk(b, func(_, _ span) {}))
		var fields eventFields
		require.Equal(t, object, fields.read(b))
		if !object {
			return
		}
		n := 0
		for m := range members(b, whole(b)) {
			n++
			require.True(t, json.Valid(m.val.of(b)))
		}
		seen := 0
		require.True(t, walk(b, func(_, _ span) { seen++ }))
		require.Equal(t, n, seen)
	})
}

func TestEventFields(t *testing.T) {
	for _, data := range []string{
		`{"type":"response.output_text.delta","sequence_number":7,"item_id":"m","output_index":3,"content_index":0,"delta":"x"}`,
		`{"delta":"x","item_id":"m","output_index":3,"sequence_number":7,"type":"response.output_text.delta"}`,
		`{ "type" : "response.output_text.delta" , "sequence_number" : 7 , "item_id" : "m" , "output_index" : 3 }`,
		`{"type":"x","sequence_number":1,"item_id":"n","output_index":2,"type":"response.output_text.delta","sequence_number":7,"item_id":"m","output_index":3}`,
	} {
		var f eventFields
		require.True(t, f.read([]byte(data)), data)
		require.Equal(t, "response.output_text.delta", string(f.kind.of([]byte(data))))
		require.Equal(t, `"m"`, string(f.itemID.of([]byte(data))))
		require.Equal(t, []int{7, 3}, []int{f.seqValue, f.indexValue}, data)
	}
	for _, data := range []string{`{"sequence_number":-1}`, `{"sequence_number":1.5}`, `{"sequence_number":"1"}`, `{"sequence_number":12345678901}`, `{"x":{"sequence_number":1}}`} {
		var f eventFields
		require.True(t, f.read([]byte(data)))
		require.Equal(t, -1, f.seqValue, data)
		require.False(t, f.seq.found())
	}
}

func TestAppendString(t *testing.T) {
	for _, s := range []string{"", "a\"b\\c", "é\u2028<>&", "\x00\x1f\n", "\xff"} {
		var got string
		require.NoError(t, json.Unmarshal(appendString(nil, s), &got))
		require.Equal(t, strings.ToValidUTF8(s, "\ufffd"), got)
	}
}
