package redact

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var secrets = []string{"sk-proj-alpha-0123456789abcdef", `odd"key\with/+%41&all`, "sk-proj-bravo", "abcabcabd", "tiny", "no!"}

// written is what a Writer passes on of text, given to it in pieces of step bytes.
func written(t testing.TB, set *Set, text string, step int) string {
	t.Helper()
	var out bytes.Buffer
	w := NewWriter(&out, set)
	for b := []byte(text); len(b) > 0; {
		n := min(step, len(b))
		_, err := w.Write(b[:n])
		require.NoError(t, err)
		b = b[n:]
	}
	require.NoError(t, w.Close())
	return out.String()
}

func octal(s string) string {
	var b strings.Builder
	for i := range len(s) {
		fmt.Fprintf(&b, `\%03o`, s[i])
	}
	return b.String()
}

func hexed(s, form string) string {
	var b strings.Builder
	for i := range len(s) {
		fmt.Fprintf(&b, form, s[i])
	}
	return b.String()
}

func jsonOf(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(b[1 : len(b)-1])
}

// forms are ways in which a program may write a text.
var forms = map[string]func(string) string{
	"as it is":          func(s string) string { return s },
	"JSON":              jsonOf,
	"JSON within JSON":  func(s string) string { return jsonOf(jsonOf(s)) },
	"JSON, slashes":     func(s string) string { return strings.ReplaceAll(jsonOf(s), "/", `\/`) },
	"C":                 func(s string) string { return strings.NewReplacer(`\`, `\\`, `"`, `\"`, `'`, `\'`).Replace(s) },
	"octal":             octal,
	"hexadecimal":       func(s string) string { return hexed(s, `\x%02x`) },
	"capitals":          func(s string) string { return hexed(s, `\x%02X`) },
	"hexadecimal twice": func(s string) string { return hexed(s, `\\x%02x`) },
	"unicode":           func(s string) string { return hexed(s, `\u%04x`) },
	"of a URL":          url.QueryEscape,
	"of a URL, all":     func(s string) string { return hexed(s, "%%%02X") },
	"of a URL, twice":   func(s string) string { return url.QueryEscape(hexed(s, "%%%02x")) },
	"over two lines":    func(s string) string { return s[:len(s)/2] + "\n" + s[len(s)/2:] },
	"over CRLF":         func(s string) string { return s[:len(s)-1] + "\r\n" + s[len(s)-1:] },
}

func TestEveryForm(t *testing.T) {
	set := New(secrets)
	for name, form := range forms {
		for _, secret := range secrets[:5] {
			t.Run(name+"/"+secret, func(t *testing.T) {
				shown := form(secret)
				for _, text := range []string{"before " + shown + " behind\n", shown, "x\n" + shown + "\n", shown + shown, "sk-proj-" + shown + "-", `{"v":"Bearer ` + shown + `"}` + "\n"} {
					want := ""
					for _, step := range []int{1, 2, 7, len(text)} {
						got := written(t, set, text, step)
						require.Contains(t, got, "***")
						require.NotContains(t, got, secret)
						require.NotContains(t, got, shown)
						require.NotContains(t, strings.ReplaceAll(strings.ReplaceAll(got, "\n", ""), "\r", ""), secret)
						if want == "" {
							want = got
						}
						if !strings.ContainsAny(shown, "\n") { // few bytes before the end of a line do not hold it back
							require.Equal(t, want, got, "the size of the pieces shows")
						}
					}
				}
			})
		}
	}
}

func TestWithinBase64(t *testing.T) {
	set := New(secrets)
	for _, secret := range secrets[:4] {
		for before := range 7 {
			for behind := range 4 {
				text := []byte(strings.Repeat("u", before) + secret + strings.Repeat(":", behind))
				for name, e := range map[string]*base64.Encoding{"std": base64.StdEncoding, "url": base64.RawURLEncoding} {
					shown := e.EncodeToString(text)
					got := written(t, set, "authorization: Basic "+shown+"\n", 5)
					left := strings.TrimPrefix(got, "authorization: Basic ")
					require.LessOrEqual(t, len(strings.TrimSpace(strings.Replace(left, "***", "", 1))), 4*(before+behind)/3+3, "%s %s: %s of %s", name, secret, got, shown)
					require.Contains(t, got, "***")
				}
			}
		}
	}
}

func TestNothingElseIsLost(t *testing.T) {
	set := New(secrets)
	for _, text := range []string{
		"", "\n", "a\nb", "sk-proj-\nnext\n", "sk-proj\n", `\`, `\\\\\\\\\\\\\\\\\\\\\\\\\\\\x`, "%", "%2", "%25", "100%\n", `\u00`, `\x4`, "no! no! no!",
		strings.Repeat("x", 3*maxLine) + "\nshort\n", strings.Repeat("sk-proj-", 50_000), strings.Repeat("\\", 5000), strings.Repeat("%25", 5000), strings.Repeat("\n", 5000),
	} {
		for _, step := range []int{1, 13, len(text) + 1} {
			got := written(t, set, text, step)
			require.True(t, got == text || got == text[:min(len(got)-3, len(text))]+"***", "%.60q became %.60q", text, got)
		}
	}
	require.Equal(t, "odd***\n", written(t, set, "oddsk-proj-bravo\n", 3))
	require.Equal(t, "a\nb", written(t, nil, "a\nb", 1))
}

// TestNoLineIsHeldWithoutNeed: what begins like a key does not hold a line back, unless much of one stands there.
func TestNoLineIsHeldWithoutNeed(t *testing.T) {
	for text, want := range map[string]string{
		"whole\n": "whole\n", "whole\nbegun": "whole\n", "s\n": "s\n", "sk-\n": "sk-\n", "a\nsk-proj-al\n": "a\n", "a\nsk-proj-al\n[next": "a\nsk-proj-al\n",
		"a\\\n": "a\\\n", "a%4\n": "a%4\n",
	} {
		var out bytes.Buffer
		w := NewWriter(&out, New(secrets))
		_, err := w.Write([]byte(text))
		require.NoError(t, err)
		require.Equal(t, want, out.String(), "%q", text)
	}
}

func TestUse(t *testing.T) {
	var out bytes.Buffer
	w := NewWriter(&out, New([]string{"old-secret"}))
	for _, step := range []func(){
		func() { _, _ = w.Write([]byte("old-secret new-sec")) },
		func() { w.Use(New([]string{"old-secret", "new-secret"})) },
		func() { _, _ = w.Write([]byte("ret\nnew-secret\n")) },
	} {
		step()
	}
	require.Equal(t, "*** ***\n***\n", out.String())
}

func TestBlank(t *testing.T) {
	set := New(secrets)
	b := []byte(`{"key":"sk-proj-bravo","other":"odd\"key\\with\/+%41&all"}`)
	n := len(b)
	require.True(t, set.In(b))
	require.True(t, set.Blank(b))
	require.Len(t, b, n)
	require.True(t, json.Valid(b), "%s", b)
	require.False(t, set.In(b))
	require.False(t, set.Blank(b))
	var none *Set
	require.False(t, none.Blank(b) || none.In(b))
	require.Nil(t, New([]string{"", "no!"}))
}

// TestWorkIsLinear counts the bytes held: they do not grow with the stream, whatever it is.
func TestHeldIsBounded(t *testing.T) {
	set := New([]string{strings.Repeat("a", 500) + "b", "secret"})
	for _, unit := range []string{"a", "a\n", "\\", "%25", "\n", `\x61`, "%252561", "\\\\\\\\x61", "YWFh"} {
		w := NewWriter(new(bytes.Buffer), set)
		for range 2000 {
			_, _ = w.Write([]byte(strings.Repeat(unit, 100)))
			require.Less(t, len(w.buf), maxLine+64<<10, "%q", unit)
			require.Less(t, len(w.scan.spans), 100)
		}
	}
}

func TestStreamIsBlanked(t *testing.T) {
	set := New(secrets)
	text := strings.Repeat("data: {\"delta\":\"x sk-proj-bravo y\"}\n\n", 3) + "data: sk-proj-"
	for _, step := range []int{1, 3, 10, 1000} {
		var out []byte
		s := NewStream(set)
		found := false
		for b := []byte(text); len(b) > 0; {
			n := min(step, len(b))
			pass, yes := s.Next(bytes.Clone(b[:n]))
			out, found = append(out, pass...), found || yes
			b = b[n:]
		}
		pass, _ := s.End()
		out = append(out, pass...)
		require.True(t, found)
		require.Equal(t, strings.ReplaceAll(text, "sk-proj-bravo", "*************"), string(out), step)
	}
}

func FuzzWriter(f *testing.F) {
	f.Add("a sk-proj-bravo b\nsk-proj-\nalpha", uint64(1))
	f.Add(`\x73\\u006b%2d\`, uint64(2))
	f.Add("c2stcHJvai1icmF2bw==", uint64(3))
	set := New(secrets)
	f.Fuzz(func(t *testing.T, text string, seed uint64) {
		whole := written(t, set, text, len(text)+1)
		r := rand.New(rand.NewPCG(seed, 1))
		if len(text) < maxLine {
			require.Equal(t, whole, written(t, set, text, 1+r.IntN(9)))
		}
		for _, secret := range secrets[:5] {
			require.NotContains(t, whole, secret)
		}
		if !set.In([]byte(strings.NewReplacer("\n", "", "\r", "").Replace(text))) {
			kept, _, _ := strings.Cut(whole, "***") // its end may be the beginning of one
			require.True(t, text == whole || strings.HasPrefix(text, kept), "%q became %q", text, whole)
		}
		b := []byte(text)
		set.Blank(b)
		require.False(t, set.In(b), "%q", b)
	})
}

// TestFolded: a key is found in the forms that it has in names of headers, and where bytes are shown.
func TestFolded(t *testing.T) {
	const key = "sk-Proj-0aB9_xYzQ"
	set := New([]string{key, "Word"})
	for name, form := range map[string]string{
		"lower": strings.ToLower(key), "upper": strings.ToUpper(key), "hex": hex.EncodeToString([]byte(key)), "upper hex": strings.ToUpper(hex.EncodeToString([]byte(key))),
		"base64": base64.StdEncoding.EncodeToString([]byte(key)), "base64 of a header": base64.StdEncoding.EncodeToString([]byte("Bearer " + key)), "without padding": base64.RawURLEncoding.EncodeToString([]byte("Authorization: Bearer " + key + "\r\n")),
		"hex of a header": hex.EncodeToString([]byte("Bearer " + key)), "escaped": url.QueryEscape(key), "all escaped": "%73%6B-%50roj-0aB9%5fxYzQ", "escaped twice": "%2573k-Proj-0aB9_xYzQ",
		"escaped base64": url.QueryEscape(base64.StdEncoding.EncodeToString([]byte("?" + key + "~~"))),
	} {
		require.True(t, set.In([]byte("x-"+form+"-y")), name)
		text := []byte("x-" + form + "-y")
		require.True(t, set.Blank(text), name)
		require.False(t, set.In(text), name)
	}
	require.False(t, set.In([]byte("a word")), "a short one is found only as it is")
}
