package turn_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/dialect/rawjson"
	"github.com/keyturn/keyturn/internal/dialect/turn"
)

func TestArguments(t *testing.T) {
	for _, tc := range []struct {
		name   string
		pieces []string
		want   string
	}{
		{"none", nil, ``},
		{"empty pieces", []string{``, ``}, ``},
		{"one piece", []string{`{"x":1}`}, `{"x":1}`},
		{"in pieces", []string{`{"x"`, `:`, `1}`}, `{"x":1}`},
		{"within an escape", []string{`{"x":"\`, `n"}`}, `{"x":"\n"}`},
		{"all so far with each", []string{`{"x"`, `{"x":1`, `{"x":1}`, `{"x":1}`}, `{"x":1}`},
		{"all so far, after {}", []string{`{}`, `{"x"`, `{"x":1}`}, `{"x":1}`},
		{"{} first, then pieces", []string{`{}`, `{"x":`, `1}`}, `{"x":1}`},
		{"{ } first, then whole", []string{`{ }`, `{"x":1}`}, `{"x":1}`},
		{"whole, then {}", []string{`{"x":1}`, `{}`}, `{"x":1}`},
		{"whole twice", []string{`{"x":1}`, `{"x":1}`}, `{"x":1}`},
		{"whole after pieces", []string{`{"x":`, `1}`, `{"x":1}`}, `{"x":1}`},
		{"pieces after whole", []string{`{"x":1}`, `{"x":`, `1}`}, `{"x":1}`},
		{"whole once more, spaced", []string{`{"x":1}`, ` {"x": 1}`}, `{"x":1}`},
		{"an object within, like the whole", []string{`{"a":`, `{"a":1}`, `}`}, `{"a":{"a":1}}`},
		{"two that differ", []string{`{"x":1}`, `{"x":2}`}, `{"x":1}{"x":2}`},
		{"a list", []string{`[`, `]`}, `[]`},
		{"cut", []string{`{"x":`}, `{"x":`},
		{"only {}", []string{`{}`, `{}`}, `{}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var a turn.Arguments
			for _, p := range tc.pieces {
				a.Add([]byte(strings.ReplaceAll(strings.ReplaceAll(p, `\`, `\\`), `"`, `\"`)))
			}
			require.Equal(t, tc.want, string(a.Text()))
			require.Equal(t, strings.HasPrefix(tc.want, "{") && strings.Count(tc.want, "}") == strings.Count(tc.want, "{") && !strings.Contains(tc.want, "}{"), a.Complete())
		})
	}
}

func TestArgumentsOfAnObject(t *testing.T) {
	var a turn.Arguments
	a.AddObject([]byte("{\"x\":\"a\\n\"}"))
	require.Equal(t, `{"x":"a\n"}`, string(a.Text()))
	require.Equal(t, `{\"x\":\"a\\n\"}`, string(a.Raw()))
}

// What goes back is always an object, and the model's own where there is one.
func TestObject(t *testing.T) {
	for text, want := range map[string]string{
		``: `{}`, ` `: `{}`, `null`: `{}`, `{"x":1}`: `{"x":1}`, ` {"x" : 1}`: ` {"x" : 1}`, `"{\"x\":1}"`: `{"x":1}`,
		`[]`: `{"INVALID_JSON":"[]"}`, `1`: `{"INVALID_JSON":"1"}`, `"a"`: `{"INVALID_JSON":"\"a\""}`, `{"x":`: `{"INVALID_JSON":"{\"x\":"}`,
	} {
		require.Equal(t, want, string(turn.Object([]byte(text))), text)
	}
}

// Whatever the way in which a provider sends an object, it is that object.
func FuzzArguments(f *testing.F) {
	f.Add(`{"x":1}`, uint8(3), uint8(1))
	f.Add(`{"a":{"a":1}}`, uint8(5), uint8(2))
	f.Add(`{}`, uint8(0), uint8(3))
	f.Fuzz(func(t *testing.T, text string, cut, way uint8) {
		if !turn.IsObject([]byte(text)) {
			return
		}
		quoted := rawjson.AppendString(nil, text)
		meant := rawjson.Unquote(quoted) // what is no UTF-8 is replaced
		inner := string(quoted[1 : len(quoted)-1])
		at := int(cut) % (len(inner) + 1)
		var pieces []string
		switch way % 5 {
		case 0:
			pieces = []string{inner[:at], inner[at:]}
		case 1: // all so far
			pieces = []string{inner[:at], inner}
		case 2:
			pieces = []string{inner, inner}
		case 3:
			pieces = []string{"{}", inner[:at], inner[at:]}
		case 4:
			pieces = []string{inner[:at], inner[at:], inner}
		}
		var a turn.Arguments
		for _, p := range pieces {
			a.Add([]byte(p))
		}
		require.JSONEq(t, meant, string(a.Text()), "%q", pieces)
	})
}
