package extproc

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestValidateFallbacks holds that what no request could follow is refused, each with its place.
func TestValidateFallbacks(t *testing.T) {
	t.Parallel()
	pool := func(name string, to ...string) Pool {
		return Pool{Name: name, Authority: name + ".example.com", Dialects: []string{"chat"}, Fallback: Fallback{To: to}}
	}
	require.NoError(t, ValidateFallbacks([]Pool{pool("a", "b", "c"), pool("b", "c"), pool("c")}), "two ways to one pool are no loop")
	silent, nowhere := pool("silent"), pool("nowhere")
	silent.Dialects, nowhere.Authority = nil, ""
	err := ValidateFallbacks([]Pool{pool("a", "b", "missing", "b"), pool("b", "c"), pool("c", "a"), silent, nowhere, pool("d", "d", "silent", "nowhere")})
	require.Error(t, err)
	for _, want := range []string{
		`pools[0].fallback.to[1]: "missing" is not`, "pools[0].fallback.to[2]: b is named twice", "pools[0].fallback.to: leads back to the pool itself (a → b → c → a)",
		"pools[5].fallback.to[0]: a pool does not fall back to itself", "pools[5].fallback.to[1]: silent speaks none that is known, and this pool chat", "pools[5].fallback.to[2]: nowhere has no upstream",
	} {
		require.ErrorContains(t, err, want)
	}
	var many []Pool
	for i := range 17 {
		many = append(many, pool(string(rune('a'+i)), string(rune('b'+i))))
	}
	many = append(many, pool("r"))
	require.ErrorContains(t, ValidateFallbacks(many), "pools[0].fallback.to: leads to 17 pools in all; at most 15")
}

// TestChain holds that the pools of a chain are asked in order, each once, and what a model is called in each.
func TestChain(t *testing.T) {
	t.Parallel()
	pools := []Pool{
		{Name: "a", Fallback: Fallback{To: []string{"b", "d"}, Models: map[string]string{"m": "mb"}}},
		{Name: "b", Fallback: Fallback{To: []string{"c"}, On: []string{FallbackExhausted}, Models: map[string]string{"mb": "mc", "other": "oc"}}},
		{Name: "c", Fallback: Fallback{To: []string{"d"}}},
		{Name: "d"},
	}
	set := &poolSet{byName: map[string]*bound{}}
	for _, p := range pools {
		b := &bound{name: p.Name}
		set.all, set.byName[p.Name] = append(set.all, b), b
	}
	set.chain(pools)
	type step struct{ to, m, other string }
	var got []step
	for _, h := range set.all[0].hops {
		got = append(got, step{h.to.name, h.rename("m"), h.rename("other")})
	}
	require.Equal(t, []step{{"b", "mb", "other"}, {"c", "mc", "oc"}, {"d", "mc", "oc"}}, got)
	require.Equal(t, [whys]bool{true, true, true}, set.all[0].hops[0].on)
	require.Equal(t, [whys]bool{true, false, false}, set.all[0].hops[1].on)
	require.Len(t, set.all[1].hops, 2)
	require.Empty(t, set.all[3].hops)
}

func TestWithModel(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"/openai/deployments/gpt/chat/completions?api-version=1": "/openai/deployments/a%2Fb/chat/completions?api-version=1",
		"/model/m/converse":                     "/model/a%2Fb/converse",
		"/v1beta/models/gemini:generateContent": "/v1beta/models/a%2Fb:generateContent",
		"/v1/responses?x=/model/m/":             "/v1/responses?x=/model/m/",
		"/v1/models/m":                          "/v1/models/m",
	} {
		require.Equal(t, want, withModel(path, "a/b"))
	}
}

// TestModelOfAPath holds that a model whose name has escapes is known by its name, and that one which keeps its name stays as it was written.
func TestModelOfAPath(t *testing.T) {
	t.Parallel()
	home := &bound{base: "/first", hops: []hop{{to: &bound{base: "/second"}, models: []map[string]string{{"org/m": "org/n"}}}}}
	for wanted, want := range map[string]string{"org%2Fm": "org%2Fn", "org%2Fother": "org%2Fother", "plain": "plain"} {
		x := &exchange{home: home, wanted: wanted, came: "/first/v1/deployments/" + wanted + "/chat/completions"}
		x.takesOver(1)
		x.beginElsewhere(&message{})
		require.Equal(t, "/second/v1/deployments/"+want+"/chat/completions", x.sent)
	}
}
