package scripted

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func read(wanted []string, parts ...string) *fields {
	f := &fields{wanted: wanted}
	for _, p := range parts {
		_, _ = f.Write([]byte(p))
	}
	return f
}

func TestFields(t *testing.T) {
	for _, tc := range []struct{ name, body, want string }{
		{"first and last", `{"a":1,"x":[1,{"b":2}],"b":"two"}`, `a=1 b="two"`},
		{"white space", " {\n \"a\" : true ,\r\n\t\"b\" : {\"c\" : [ 1 , 2 ]} } ", `a=true b={"c" : [ 1 , 2 ]}`},
		{"only at the top", `{"x":{"a":1},"y":["a",{"b":2}]}`, ``},
		{"not in a string", `{"x":"\"a\":1,\\","b":"}]\\\""}`, `b="}]\\\""`},
		{"a value is no name", `{"x":"a","b":"a"}`, `b="a"`},
		{"the last of two", `{"a":1,"a":2}`, `a=2`},
		{"an array is no object", `["a",1]`, ``},
		{"no object at all", `]]]"a":1`, ``},
		{"cut off", `{"a":1,"b":2`, `a=1`},
		{"too long", `{"a":"` + strings.Repeat("x", maxFieldBytes) + `","b":1}`, `b=1`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := read([]string{"a", "b"}, tc.body)
			var got []string
			for _, name := range f.wanted {
				if v, ok := f.values[name]; ok {
					got = append(got, name+"="+string(v))
				}
			}
			require.Equal(t, tc.want, strings.Join(got, " "))
		})
	}
}

// FuzzFields holds that valid objects are read as encoding/json reads them, however they are cut.
func FuzzFields(f *testing.F) {
	for _, body := range []string{
		`{"model":"m","stream":true,"input":[{"role":"user","content":"a \"quoted\" \\ text"}]}`,
		`{"stream_options":{"include_usage":true},"tools":[]}`, `{}`, `[]`, `{"model":`, `"model"`,
	} {
		f.Add(body, 3)
	}
	f.Fuzz(func(t *testing.T, body string, at int) {
		at = min(max(0, at), len(body))
		wanted := []string{"model", "stream", "stream_options", "tools"}
		got := read(wanted, body[:at], body[at:])
		require.Equal(t, read(wanted, body).values, got.values)
		var want map[string]json.RawMessage
		if json.Unmarshal([]byte(body), &want) != nil || strings.Contains(body, `\u`) {
			return // an escaped name is a name to encoding/json, and none that a client sends
		}
		for _, name := range wanted {
			require.Equal(t, string(want[name]), string(got.values[name]))
		}
	})
}
