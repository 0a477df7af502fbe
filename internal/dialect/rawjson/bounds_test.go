package rawjson

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCount(t *testing.T) {
	list := func(n int, element string) []byte {
		return []byte(`[` + strings.TrimSuffix(strings.Repeat(element+`,`, n), `,`) + `]`)
	}
	for _, tc := range []struct {
		name string
		in   []byte
		want int
	}{
		{"none", []byte(`[]`), 0},
		{"no list", []byte(`"x"`), 0},
		{"some small ones", list(1000, `0`), 1000},
		{"many small ones", list(5000, `0`), -1},
		{"many", list(5000, `{"role":"user","content":"as people write, in a few words"}`), 5000},
	} {
		require.Equal(t, tc.want, Count(tc.in, Whole(tc.in)), tc.name)
	}
}

func TestWord(t *testing.T) {
	require.Equal(t, "a\n", Word([]byte(`"a\n"`)))
	require.Empty(t, Word([]byte(`1`)))
	require.Len(t, Word([]byte(`"`+strings.Repeat("x", maxWord-2)+`"`)), maxWord-2)
	require.Empty(t, Word([]byte(`"`+strings.Repeat("x", maxWord)+`"`)))
}

func TestFillNumbers(t *testing.T) {
	for _, tc := range []struct{ name, earlier, last, want string }{
		{"what is not there", `{"a":1,"b":{"c":2},"d":"x"}`, `{"e":3}`, `{"e":3,"a":1,"b":{"c":2}}`},
		{"what is there stays", `{"a":1}`, `{"a":2}`, `{"a":2}`},
		{"null", `{"a":1}`, `{"a":null}`, `{"a":1}`},
		{"none", `{"a":1}`, ``, `{"a":1}`},
		{"none before", ``, `{"a":1}`, `{"a":1}`},
	} {
		require.Equal(t, tc.want, string(FillNumbers([]byte(tc.earlier), []byte(tc.last))), tc.name)
	}
}

// TestSumsAreBounded: usage that is larger or deeper than usage ever is stays as it came.
func TestSumsAreBounded(t *testing.T) {
	large := `{"a":1,"b":"` + strings.Repeat("x", maxSummed) + `"}`
	require.Equal(t, large, string(AddNumbers([]byte(`{"a":1}`), []byte(large))))
	require.Equal(t, `{"a":1}`, string(AddNumbers([]byte(large), []byte(`{"a":1}`))))
	require.Equal(t, `{"a":1}`, string(FillNumbers([]byte(large), []byte(`{"a":1}`))))
	deep := strings.Repeat(`{"a":`, 100) + `1` + strings.Repeat(`}`, 100)
	require.Equal(t, deep, string(AddNumbers([]byte(deep), []byte(deep))))
}

func TestGrowth(t *testing.T) {
	b := []byte(`{"a":1}`)
	var e Edits
	require.Zero(t, e.Growth())
	e.Set(b, Whole(b), "a", []byte("1000"))
	e.Set(b, Whole(b), "b", []byte("2"))
	require.Equal(t, len(e.Apply(nil, b))-len(b), e.Growth())
}

func TestCountWork(t *testing.T) {
	b := []byte(`[1,2,3]`)
	require.Equal(t, 3, CountWork(func() {
		_ = slices.Collect(Elements(b, Whole(b)))
	}))
	require.Nil(t, work)
}
