package attach_test

import (
	"bytes"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/envoy/attach"
)

// mutations are what people do to files without changing what they say: in most places.
var mutations = []func(line string, r *rand.Rand) string{
	func(line string, _ *rand.Rand) string { return "\n" + line },
	func(line string, _ *rand.Rand) string { return "   \n" + line },
	func(line string, _ *rand.Rand) string { return "# a comment: {of: somebody} # >>> keyturn\n" + line },
	func(line string, r *rand.Rand) string {
		return strings.Repeat(" ", r.IntN(30)) + "#- indented as it likes\n" + line
	},
	func(line string, _ *rand.Rand) string {
		return strings.TrimRight(line, "\r\n") + "   # ünïcode 🔑\n"
	},
	func(line string, _ *rand.Rand) string { return strings.TrimRight(line, "\r\n") + "  \n" },
	func(line string, _ *rand.Rand) string { return strings.TrimRight(line, "\r\n") + "\r\n" },
	func(line string, _ *rand.Rand) string { return strings.Replace(line, ": ", ":    ", 1) },
	func(line string, _ *rand.Rand) string { return strings.Replace(line, "- ", "-   ", 1) },
	func(line string, _ *rand.Rand) string { return strings.Replace(line, ",", "\n,\n ", 1) },
	func(line string, _ *rand.Rand) string { return strings.Replace(line, "{", "{ ", 1) },
	func(line string, _ *rand.Rand) string { return strings.Replace(line, ", ", ",\n        ", 1) },
}

func mutated(doc string, r *rand.Rand) []byte {
	lines := slices.Collect(strings.Lines(doc))
	for range 1 + r.IntN(6) {
		i := r.IntN(len(lines))
		lines[i] = mutations[r.IntN(len(mutations))](lines[i], r)
	}
	doc = strings.Join(lines, "")
	switch r.IntN(8) {
	case 0:
		doc = strings.TrimRight(doc, "\r\n")
	case 1:
		doc = strings.ReplaceAll(strings.ReplaceAll(doc, "\r\n", "\n"), "\n", "\r\n")
	case 2:
		doc = "\ufeff" + strings.TrimPrefix(doc, "\ufeff")
	}
	return []byte(doc)
}

// TestMutated attaches to files that were written otherwise, and gives each back. Most of them can be edited.
func TestMutated(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same each time
	for _, name := range slices.Sorted(maps.Keys(foreign)) {
		doc, edited := string(readForeign(t, name)), 0
		const rounds = 25
		for range rounds {
			before := mutated(doc, r)
			if requireRound(t, before, options(foreign[name])) {
				edited++
			}
		}
		require.Greater(t, edited, rounds/3, "%s: hardly any can be edited", name)
	}
}

// requireRound holds that what can be attached to can be detached from, and that twice is once. It reports whether it can.
func requireRound(t *testing.T, before []byte, o attach.Options) bool {
	t.Helper()
	first, err := attach.Attach(before, o)
	if err != nil {
		return false
	}
	back, err := attach.Detach(first.Doc)
	if len(first.Edits) == 0 {
		require.ErrorIs(t, err, attach.ErrNothing)
		return true
	}
	require.NoError(t, err)
	require.Equal(t, string(before), string(back))
	again, err := attach.Attach(first.Doc, o)
	require.NoError(t, err)
	require.Equal(t, string(first.Doc), string(again.Doc))
	return true
}

// TestDetachKeepsOthersEdits changes an edited file elsewhere: detach takes out what attach wrote, and nothing else.
func TestDetachKeepsOthersEdits(t *testing.T) {
	t.Parallel()
	for name, change := range map[string][2]string{
		"front-proxy.yaml": {"prefix: \"/service/2\"", "prefix: \"/service/3\""},
		"small.json":       {`"/coffee"`, `"/tea"`},
		"oneline.json":     {`"/coffee"`, `"/tea"`},
	} {
		before := readForeign(t, name)
		r, err := attach.Attach(before, options(foreign[name]))
		require.NoError(t, err)
		edit := func(doc []byte) []byte {
			require.Equal(t, 1, bytes.Count(doc, []byte(change[0])))
			return bytes.Replace(doc, []byte(change[0]), []byte(change[1]), 1)
		}
		if name == "oneline.json" {
			edit = func(doc []byte) []byte { return bytes.ReplaceAll(doc, []byte(change[0]), []byte(change[1])) }
		}
		back, err := attach.Detach(edit(r.Doc))
		require.NoError(t, err, name)
		require.Equal(t, string(edit(before)), string(back))
	}
}

// TestDetachRefuses gives no file back of which it does not know how it was.
func TestDetachRefuses(t *testing.T) {
	t.Parallel()
	for name, change := range map[string][2]string{
		"front-proxy.yaml":          {"# <<< keyturn attach\n", ""},
		"small.json":                {`"cluster": "keyturn-inner"`, `"cluster": "elsewhere"`},
		"oneline.json":              {`"cluster": "keyturn-inner"`, `"cluster": "elsewhere"`},
		"egress-sni.yaml":           {"# >>> keyturn attach: ", "# >>> keyturn attach: twice\n# >>> keyturn attach: "},
		"grpc-websocket.yaml":       {"# >>> keyturn attach: ", "# <<< keyturn attach\n# >>> keyturn attach: "},
		"chains-and-listeners.yaml": {"# <<< keyturn attach\n", ""},
	} {
		r, err := attach.Attach(readForeign(t, name), options(foreign[name]))
		require.NoError(t, err)
		require.Contains(t, string(r.Doc), change[0], name)
		_, err = attach.Detach(bytes.Replace(r.Doc, []byte(change[0]), []byte(change[1]), 1))
		require.ErrorContains(t, err, "docs/attach.md", name)
	}
	_, err := attach.Detach(readForeign(t, "front-proxy.yaml"))
	require.ErrorIs(t, err, attach.ErrNothing)
}

// TestMore attaches a second pool, and takes both out at once.
func TestMore(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"front-proxy.yaml", "small.json"} {
		before := readForeign(t, name)
		o := options(attach.Options{})
		one, err := attach.Attach(before, o)
		require.NoError(t, err)
		both := bytes.Clone(before)
		if name == "front-proxy.yaml" {
			o.Pools = []attach.Pool{{Name: "second", Cluster: "service2"}}
			two, err := attach.Attach(one.Doc, o)
			require.NoError(t, err)
			require.Contains(t, string(two.Doc), "value: second")
			require.Contains(t, string(two.Doc), "value: openai")
			require.NotEmpty(t, two.Diff(name))
			o.Pools = append(o.Pools, attach.Pool{Name: "openai", Cluster: "openai"})
			whole, err := attach.Attach(before, o)
			require.NoError(t, err)
			require.Equal(t, string(whole.Doc), string(two.Doc), "one after the other is as both at once")
			one = two
		}
		back, err := attach.Detach(one.Doc)
		require.NoError(t, err)
		require.Equal(t, string(both), string(back))
	}
}

func FuzzAttach(f *testing.F) {
	for name := range foreign {
		f.Add(readForeign(f, name))
	}
	f.Add([]byte("static_resources: &a\n  listeners: *a\n"))
	f.Fuzz(func(t *testing.T, doc []byte) {
		requireRound(t, doc, options(attach.Options{Clients: attach.ClientsOpen}))
		back, err := attach.Detach(doc)
		require.True(t, err != nil || len(back) <= 2*len(doc))
	})
}
