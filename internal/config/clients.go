package config

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/keyturn/keyturn/envoy"
	"github.com/keyturn/keyturn/extproc"
	"github.com/keyturn/keyturn/internal/setting"
)

// clientLimits are what clients may use, by their names.
func clientLimits() dictionary[extproc.ClientLimits] {
	return dictionary[extproc.ClientLimits]{
		item: func(string) shape[extproc.ClientLimits] { return clientLimitFields() },
		refuse: func(name string) wrong {
			switch {
			case slices.Contains(clientFields().names(), name):
				return wrong("belongs to envoy.clients, which says who the clients are; here stands what each of them may use: {" + extproc.DefaultClient + ": {requests_per_minute: 60}}")
			case len(name) == 0 || len(name) > 256 || strings.ContainsFunc(name, func(c rune) bool { return c <= ' ' || c > '~' }):
				return "is no client's name; write one of at most 256 letters, digits and signs"
			}
			return ""
		},
		pattern: "^[!-~]{1,256}$", word: "mapping", suffix: ".NAME",
		example: "{" + extproc.DefaultClient + ": {requests_per_minute: 60}}",
	}
}

func clientLimitFields() object[extproc.ClientLimits] {
	const most = 1_000_000_000_000
	return object[extproc.ClientLimits]{
		fields: []field[extproc.ClientLimits]{
			is("pools", func(l *extproc.ClientLimits) *[]string { return &l.Pools }, list[string]{identifier(false), "[openai]", 1}, "Pools that it may use.").otherwise("all"),
			is("models", func(l *extproc.ClientLimits) *[]string { return &l.Models }, list[string]{modelPattern(), `["gpt-5*"]`, 1},
				"Models that it may use; `*` stands for any text. Its requests are read whole then, up to `max_body`; those that name no model in their path or their JSON are refused.").otherwise("all"),
			is("requests_per_minute", func(l *extproc.ClientLimits) *int64 { return &l.RequestsPerMinute }, count(most), "Requests that begin within any minute.").otherwise("any number"),
			is("tokens_per_minute", func(l *extproc.ClientLimits) *int64 { return &l.TokensPerMinute }, count(most),
				"Tokens, read and written, of the answers that end within any minute and of those under way, which are estimated.").otherwise("any number"),
			is("tokens_per_day", func(l *extproc.ClientLimits) *int64 { return &l.TokensPerDay }, count(most), "The same for a day in UTC.").otherwise("any number"),
			is("spend_per_month", func(l *extproc.ClientLimits) *int64 { return &l.SpendPerMonth }, dollars(), "US dollars in a month of UTC, by `record.prices`.").otherwise("any"),
			is("parallel", func(l *extproc.ClientLimits) *int { return &l.Parallel }, number(1, 100_000), "Requests at the same time, each until its response has come to its end.").otherwise("any number"),
		},
		example: "{requests_per_minute: 60}",
	}
}

// count is a number of at least 1.
func count(most int64) scalar[int64] {
	want := fmt.Sprintf("a whole number from 1 to %d", most)
	return scalar[int64]{
		word: "number", want: want, tags: []string{"!!int"},
		render: func(n int64) string { return strconv.FormatInt(n, 10) },
		parse: func(s string) (int64, wrong) {
			n, err := strconv.ParseInt(s, 10, 64)
			if err != nil || n < 1 || n > most {
				return 0, wrong("found " + shown(s) + "; write " + want)
			}
			return n, ""
		},
		schema: map[string]any{"type": "integer", "minimum": 1, "maximum": most},
	}
}

// dollars is an amount, kept in billionths.
func dollars() scalar[int64] {
	const (
		want = "US dollars from 0.01 to 1000000, such as 25 or 12.50"
		nano = 1_000_000_000
	)
	return scalar[int64]{
		word: "price", want: want, tags: []string{"!!str", "!!int", "!!float"},
		render: func(n int64) string { return strconv.FormatFloat(float64(n)/nano, 'f', -1, 64) },
		parse: func(s string) (int64, wrong) {
			v, err := strconv.ParseFloat(s, 64)
			if err != nil || strings.Trim(s, "0123456789.") != "" || v < 0.01 || v > 1_000_000 {
				return 0, wrong("found " + shown(s) + "; write " + want)
			}
			return int64(math.Round(v*1e6)) * (nano / 1e6), ""
		},
		schema: map[string]any{"oneOf": []any{map[string]any{"type": "number", "minimum": 0.01, "maximum": 1_000_000}, map[string]any{"type": "string", "pattern": `^[0-9]{0,7}(\.[0-9]{0,6})?$`}}},
	}
}

// wholeClients checks the limits of clients against the rest of the file.
func (r *reader) wholeClients(c *Config) {
	r.judged("clients", setting.Of(c.Clients.Validate()))
	names := slices.Sorted(maps.Keys(c.Clients))
	for _, name := range names {
		l, path := c.Clients[name], within("clients", name)
		for i, pool := range l.Pools {
			if !slices.ContainsFunc(c.Pools, func(p Pool) bool { return p.Name == pool }) && pool != "" {
				r.refuse(setting.Item(within(path, "pools"), i), "there is no pool %s; write %s", pool, either(poolNames(c.Pools)))
			}
		}
		r.nameOfClient(c, name, path)
		r.countable(c, l, path)
	}
}

func poolNames(pools []Pool) (names []string) {
	for _, p := range pools {
		names = append(names, p.Name)
	}
	return names
}

// nameOfClient finds an entry that is nobody's.
func (r *reader) nameOfClient(c *Config, name, path string) {
	const keys = "envoy.clients.api_keys_file"
	switch {
	case name == extproc.DefaultClient, c.Envoy.Clients.JWT != nil, r.failed(keys), r.failed("envoy.clients"):
	case !r.given(keys):
		r.warn(path, "envoy.clients lets no client in by a name, so the name counts only where an Envoy of your own says it; write envoy: {clients: {api_keys_file: PATH}}")
	case !slices.ContainsFunc(c.Envoy.Clients.APIKeys, func(k ClientKey) bool { return k.Name == name }):
		known := make([]string, 0, len(c.Envoy.Clients.APIKeys))
		for _, k := range c.Envoy.Clients.APIKeys {
			known = append(known, k.Name)
		}
		if near, ok := nearest(name, known); ok {
			r.refuse(path, "no client of %s has this name; did you mean %s?", keys, near)
			return
		}
		r.refuse(path, "no client of %s has this name; add a line %s:KEY there, or remove the entry", keys, "NAME")
	}
}

// countable finds limits that need what is not known.
func (r *reader) countable(c *Config, l extproc.ClientLimits, path string) {
	if !l.Counts() || r.failed("record") {
		return
	}
	for _, f := range []struct {
		name string
		n    int64
	}{{"tokens_per_minute", l.TokensPerMinute}, {"tokens_per_day", l.TokensPerDay}, {"spend_per_month", l.SpendPerMonth}} {
		at := within(path, f.name)
		switch {
		case f.n == 0:
		case c.Record.Off:
			r.refuse(at, "nobody knows what requests use while record is off; remove record: off, or this")
		case c.Record.Usage == UsageOff:
			r.refuse(at, "nobody knows what requests use with record.usage: false; remove that, or this")
		case c.Envoy.Version != "" && minor(c.Envoy.Version) < envoy.UsageMinor:
			r.warn(at, "Envoy %s does not read the tokens of answers, so they are estimated by their size; 1.%d does", c.Envoy.Version, envoy.UsageMinor)
		}
	}
}
