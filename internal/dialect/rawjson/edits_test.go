package rawjson

import (
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEdits(t *testing.T) {
	remove := func(names ...string) func(*Edits, []byte) {
		return func(e *Edits, b []byte) {
			for m := range Members(b, Whole(b)) {
				for _, n := range names {
					if string(m.Name) == n {
						e.Remove(b, Whole(b), m)
					}
				}
			}
		}
	}
	set := func(name, value string) func(*Edits, []byte) {
		return func(e *Edits, b []byte) { e.Set(b, Whole(b), name, []byte(value)) }
	}
	push := func(values string) func(*Edits, []byte) {
		return func(e *Edits, b []byte) { e.Push(b, Whole(b), []byte(values)) }
	}
	drop := func(which ...int) func(*Edits, []byte) {
		return func(e *Edits, b []byte) {
			n := 0
			for v := range Elements(b, Whole(b)) {
				for _, w := range which {
					if w == n {
						e.Drop(b, Whole(b), v)
					}
				}
				n++
			}
		}
	}
	for _, tc := range []struct {
		name, in, want string
		changes        []func(*Edits, []byte)
	}{
		{"remove the first", `{ "a" : 1 , "b":2}`, `{ "b":2}`, []func(*Edits, []byte){remove("a")}},
		{"remove the middle", `{"a":1,"b":2,"c":3}`, `{"a":1,"c":3}`, []func(*Edits, []byte){remove("b")}},
		{"remove the last", `{"a":1, "b":2 }`, `{"a":1 }`, []func(*Edits, []byte){remove("b")}},
		{"remove the only one", `{ "a":1 }`, `{  }`, []func(*Edits, []byte){remove("a")}},
		{"remove the last two", `{"a":1,"b":2,"c":3}`, `{"a":1}`, []func(*Edits, []byte){remove("b", "c")}},
		{"remove the first two", `{"a":1,"b":2,"c":3}`, `{"c":3}`, []func(*Edits, []byte){remove("a", "b")}},
		{"remove all", `{"a":1,"b":2,"c":3}`, `{}`, []func(*Edits, []byte){remove("a", "b", "c")}},
		{"remove one by one, from the end", `{"a":1,"b":2,"c":3,"d":4}`, `{"b":2}`, []func(*Edits, []byte){remove("d"), remove("c"), remove("a")}},
		{"set one that is there", `{"a":1,"b":2}`, `{"a":[],"b":2}`, []func(*Edits, []byte){set("a", "[]")}},
		{"set new ones", `{"a":1 }`, `{"a":1,"b":2,"c":3 }`, []func(*Edits, []byte){set("b", "2"), set("c", "3")}},
		{"set in nothing", `{ }`, `{"b":2,"c":3 }`, []func(*Edits, []byte){set("b", "2"), set("c", "3")}},
		{"set where all went", `{"a":1}`, `{"b":2}`, []func(*Edits, []byte){remove("a"), set("b", "2")}},
		{"set where the last went", `{"a":1,"b":2}`, `{"a":1,"c":3}`, []func(*Edits, []byte){remove("b"), set("c", "3")}},
		{"push", `[1, 2 ]`, `[1, 2,3,4 ]`, []func(*Edits, []byte){push("3,4")}},
		{"push twice into nothing", `[]`, `[1,2]`, []func(*Edits, []byte){push("1"), push("2")}},
		{"push nothing", `[]`, `[]`, []func(*Edits, []byte){push("")}},
		{"drop", `[1, 2, 3]`, `[2]`, []func(*Edits, []byte){drop(0, 2)}},
		{"drop all, and push", `[1, 2]`, `[3]`, []func(*Edits, []byte){drop(0, 1), push("3")}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var e Edits
			for _, change := range tc.changes {
				change(&e, []byte(tc.in))
			}
			require.Equal(t, tc.want, string(e.Apply(nil, []byte(tc.in))))
		})
	}
}

// TestEditsOverlap holds that changes which overlap do no harm.
func TestEditsOverlap(t *testing.T) {
	var e Edits
	e.Replace(Span{2, 6}, []byte("x"))
	e.Replace(Span{4, 8}, []byte("y"))
	e.Insert(2, []byte("i"))
	require.Equal(t, "01ix6789", string(e.Apply(nil, []byte("0123456789"))))
	require.Equal(t, "1ix6", string(e.ApplyTo(nil, []byte("0123456789"), Span{1, 7})))
}

// TestEditsRandom removes random members, and compares with a decoder.
func TestEditsRandom(t *testing.T) {
	for seed := range uint64(500) {
		r := rand.New(rand.NewPCG(seed, 3))
		spaces := func() string { return strings.Repeat(" ", r.IntN(2)) }
		b := []byte("{" + spaces())
		want := map[string]any{}
		for i := range 1 + r.IntN(6) {
			if i > 0 {
				b = append(b, ","+spaces()...)
			}
			name := string(rune('a' + i))
			b = append(b, `"`+name+`"`+spaces()+`:1`+spaces()...)
			want[name] = 1.0
		}
		b = append(b, '}')
		var e Edits
		for m := range Members(b, Whole(b)) {
			if r.IntN(2) == 0 {
				e.Remove(b, Whole(b), m)
				delete(want, string(m.Name))
			}
		}
		var got map[string]any
		require.NoError(t, json.Unmarshal(e.Apply(nil, b), &got), "%s\n%s", b, e.Apply(nil, b))
		require.Equal(t, want, got, string(b))
	}
}

func TestAddNumbers(t *testing.T) {
	for _, tc := range []struct{ name, earlier, last, want string }{
		{"leaves", `{"a":1,"d":{"x":2}}`, `{"a":3, "d":{"x":4}}`, `{"a":4, "d":{"x":6}}`},
		{"what only the last has stays", `{"a":1}`, `{"a":1,"b":7,"s":"x","f":1.5}`, `{"a":2,"b":7,"s":"x","f":1.5}`},
		{"what only earlier ones have is added", `{"a":1,"d":{"x":2},"s":"x"}`, `{"a":1}`, `{"a":2,"d":{"x":2}}`},
		{"null counts as nothing", `{"a":1,"d":null}`, `{"a":null,"d":{"x":1}}`, `{"a":1,"d":{"x":1}}`},
		{"no usage now", `{"a":1}`, `null`, `{"a":1}`},
		{"no usage before", ``, `{"a":1}`, `{"a":1}`},
		{"fractions", `{"a":0.1,"b":1,"c":0.00031}`, `{"a":0.2,"b":0.50,"c":1e-5}`, `{"a":0.3,"b":1.50,"c":0.00032}`},
		{"no fractions", `{"a":0.0,"b":1.5,"c":1e308,"d":"1"}`, `{"a":0.2,"b":"x","c":1e308,"d":1.5}`, `{"a":0.2,"b":"x","c":1e308,"d":1.5}`},
		{"arrays", `{"a":[1, 2],"b":[],"c":[1],"d":[{}]}`, `{"a":[ 3 ],"b":[1],"c":[],"e":[]}`, `{"a":[1, 2,3],"b":[1],"c":[1],"e":[],"d":[{}]}`},
		{"other kinds", `{"a":[1],"b":{"x":1},"c":1}`, `{"a":1,"b":[1],"c":[1]}`, `{"a":1,"b":[1],"c":[1]}`},
		{"the largest", `{"a":9223372036854775807}`, `{"a":1}`, `{"a":9223372036854775807}`},
		{"the smallest", `{"a":-9223372036854775808}`, `{"a":-1}`, `{"a":-9223372036854775808}`},
		{"into an empty object", `{"a":1,"b":2}`, `{}`, `{"a":1,"b":2}`},
		{"a name twice", `{"a":1,"a":2}`, `{"b":1}`, `{"b":1,"a":1,"a":2}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			require.Equal(t, tc.want, string(AddNumbers([]byte(tc.earlier), []byte(tc.last))))
		})
	}
}
