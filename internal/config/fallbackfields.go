package config

import (
	"slices"
	"strings"
	"time"

	"github.com/keyturn/keyturn/extproc"
	"github.com/keyturn/keyturn/internal/provider"
	"github.com/keyturn/keyturn/internal/setting"
)

func fallbackFields() object[extproc.Fallback] {
	return object[extproc.Fallback]{
		fields: []field[extproc.Fallback]{
			is("to", func(f *extproc.Fallback) *[]string { return &f.To }, list[string]{identifier(false), "[azure]", 1},
				"Names of pools that speak the same dialect, in the order in which they are asked. A pool's own fallback follows it.").otherwise("none"),
			is("on", func(f *extproc.Fallback) *[]string { return &f.On }, list[string]{choice(extproc.Fallbacks...), "[exhausted]", 1},
				"When: `exhausted` (no key of the pool can be used), `overloaded` (the provider answers with 5xx), `unreachable` (it cannot be reached, breaks off before it answers, or takes longer than `wait`).").
				otherwise("all three"),
			is("models", func(f *extproc.Fallback) *map[string]string { return &f.Models }, modelNames(),
				"What the pool's models are called in the pools of `to`. Others keep their names.").otherwise("none"),
			is("wait", func(f *extproc.Fallback) *time.Duration { return &f.Wait }, duration(extproc.MinFallbackWait, extproc.MaxFallbackWait),
				"How long the provider may take until its answer begins. An answer that does not stream begins when the model is done.").otherwise("any time"),
		},
		example: "{to: [azure]}",
	}
}

// modelNames are the names of models, each with another.
func modelNames() dictionary[string] {
	const name = `^[!-~]{1,256}$`
	return dictionary[string]{
		word: "names with names", example: "{gpt-5: my-gpt5-deployment}", pattern: name,
		refuse: func(s string) wrong {
			if s == "" || len(s) > 256 || strings.ContainsFunc(s, func(c rune) bool { return c < '!' || c > '~' }) {
				return "cannot be the name of a model; write one such as gpt-5"
			}
			return ""
		},
		item: func(string) shape[string] { return pattern("name", "the name of a model, without spaces", name, false) },
	}
}

// wholeFallbacks has package extproc judge where pools fall back to. A pool of which something was said before may lack what this is about.
func (r *reader) wholeFallbacks(pools []Pool) {
	var all []extproc.Pool
	some := false
	for i := range pools {
		some = some || len(pools[i].Fallback.To) > 0
		all = append(all, pools[i].Processor(nil))
	}
	if !some || slices.ContainsFunc(pools, func(p Pool) bool { return p.Name == "" }) {
		return
	}
	r.judged("", setting.Of(extproc.ValidateFallbacks(all)))
}

// dialects are the names of those that a provider speaks.
func dialects(row provider.Provider) (names []string) {
	for _, d := range row.Dialects {
		names = append(names, string(d))
	}
	return names
}
