package responses

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEventFields(t *testing.T) {
	for _, data := range []string{
		`{"type":"response.output_text.delta","sequence_number":7,"item_id":"m","output_index":3,"content_index":0,"delta":"x"}`,
		`{"delta":"x","item_id":"m","output_index":3,"sequence_number":7,"type":"response.output_text.delta"}`,
		`{ "type" : "response.output_text.delta" , "sequence_number" : 7 , "item_id" : "m" , "output_index" : 3 }`,
		`{"type":"x","sequence_number":1,"item_id":"n","output_index":2,"type":"response.output_text.delta","sequence_number":7,"item_id":"m","output_index":3}`,
	} {
		var f eventFields
		require.True(t, f.read([]byte(data)), data)
		require.Equal(t, "response.output_text.delta", string(f.kind.Of([]byte(data))))
		require.Equal(t, `"m"`, string(f.itemID.Of([]byte(data))))
		require.Equal(t, []int{7, 3}, []int{f.seqValue, f.indexValue}, data)
	}
	for _, data := range []string{`{"sequence_number":-1}`, `{"sequence_number":1.5}`, `{"sequence_number":"1"}`, `{"sequence_number":12345678901}`, `{"x":{"sequence_number":1}}`} {
		var f eventFields
		require.True(t, f.read([]byte(data)))
		require.Equal(t, -1, f.seqValue, data)
		require.False(t, f.seq.Found())
	}
}

// FuzzEventFields holds the reader of events, which reads an object in one go, to the same bytes that are an object to encoding/json.
func FuzzEventFields(f *testing.F) {
	for _, s := range []string{`{}`, `[]`, ` {"type":"x","sequence_number":1,"output_index":2} `, `{"type":"x","a":{"b":[1]},}`, `{"a" 1}`, `{"item_id":"m","output_index":3}x`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var object map[string]json.RawMessage
		want := json.Unmarshal(b, &object) == nil && object != nil
		var fields eventFields
		require.Equal(t, want, fields.read(b))
	})
}
