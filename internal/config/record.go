package config

import (
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/keyturn/keyturn/internal/record"
	"github.com/keyturn/keyturn/internal/setting"
	"github.com/keyturn/keyturn/internal/wire"
)

// Record says what is recorded of requests.
type Record struct {
	// Off: nothing is, and Envoy tells nothing.
	Off bool
	// Usage says how tokens come to be known.
	Usage Usage
	// Tell lets clients know their request's id and how many attempts it took.
	Tell bool
	// Settings say where records are kept. A relative folder is already joined to that of the configuration.
	record.Settings
}

// Usage says how the tokens of answers come to be known.
type Usage string

// The ways: Envoy does not read them; it reads what answers say, where it can; and streams that would not say are made to.
const (
	UsageOff      Usage = "false"
	UsageRead     Usage = "true"
	UsageComplete Usage = "complete"
)

func usage() scalar[Usage] {
	const want = "true, false or complete"
	return scalar[Usage]{
		word: want, want: want, tags: []string{"!!bool", "!!str"}, render: func(u Usage) string { return string(u) },
		parse: func(s string) (Usage, wrong) {
			switch u := Usage(strings.ToLower(s)); u {
			case UsageOff, UsageRead, UsageComplete:
				return u, ""
			}
			return "", wrong("found " + shown(s) + "; write " + want)
		},
		schema: map[string]any{"enum": []any{true, false, string(UsageComplete)}},
	}
}

// recordShape is "off" or a mapping.
type recordShape struct{}

func (recordShape) word() scalar[string] { return choice("off") }

func (recordShape) object() object[Record] {
	return object[Record]{
		fields: []field[Record]{
			is("usage", func(c *Record) *Usage { return &c.Usage }, usage(),
				"Envoy reads the tokens that providers' answers name, as they stream past. It can from version 1.40 on; before that only answers of pools with tools have them. `complete` asks for them in Chat Completions streams whose clients do not, and takes them out again, which costs the reading of these streams."),
			is("tell", func(c *Record) *bool { return &c.Tell }, boolean(),
				"Clients get their request's id and how many attempts it took in the headers `"+wire.ToldRequestHeader+"` and `"+wire.ToldAttemptsHeader+"`."),
			is("required", func(c *Record) *bool { return &c.Required }, boolean(),
				"A request leaves only when the store has that it begins; where it cannot be recorded within 3 s the client gets 503. It costs each request a commit, which those under way share."),
			is("sqlite", func(c *Record) *string { return &c.SQLite }, somewhere("the path of a folder"),
				"Folder in which records are kept, a file a day. Without it and `postgres` the last 10,000 are kept, in memory.").otherwise("none"),
			is("postgres", func(c *Record) *record.Postgres { return &c.Postgres }, object[record.Postgres]{
				fields: []field[record.Postgres]{
					is("url", func(p *record.Postgres) *string { return &p.URL }, secretOf(1), "The database as `postgres://USER:PASSWORD@HOST:PORT/NAME`, by reference.").must("{env: NAME}"),
				},
				refused: inline, private: true,
				example: "{url: {env: DATABASE_URL}}",
			}, "The PostgreSQL in which records are kept.").otherwise("none"),
			is("retain", func(c *Record) *record.Retention { return &c.Retain }, retentionFields(record.DefaultRetention), "How long records are kept."),
			is("content", func(c *Record) *record.ContentSettings { return &c.Content }, contentFields(), "What is kept of what is said, in pools with `content: true`. Who may see it is whoever has the admin token."),
			is("prices", func(c *Record) *[]record.PriceRule { return &c.Prices }, list[record.PriceRule]{item: priceFields(), example: "[{model: my-model, input: \"1.25\", output: \"10\"}]"},
				"What tokens cost, in US dollars for a million; the first that fits decides, and the built-in table where none does.").otherwise("the built-in table"),
		},
		start:   func(func(string) string) Record { return defaults.Record },
		example: "{sqlite: records}",
		after: func(r *reader, _ string, c *Record) {
			if c.SQLite != "" {
				c.SQLite = r.in(c.SQLite)
			}
		},
	}
}

func (s recordShape) read(r *reader, path string, n *yaml.Node, into *Record) {
	if n.Kind == yaml.MappingNode {
		s.object().read(r, path, n, into)
		r.judgeRecord(path, into)
		return
	}
	var word string
	w := s.word()
	w.want = "off or a mapping such as {sqlite: records}"
	w.tags = append([]string{"!!bool"}, w.tags...) // what YAML 1.1 takes off for
	w.read(r, path, n, &word)
	*into = Record{Off: true}
}

func (recordShape) show(Record) string { return "" }

func (s recordShape) describe(Record) description {
	of := s.object().describe(defaults.Record)
	return description{
		word: "off or mapping", fields: of.fields,
		schema: map[string]any{"oneOf": []any{map[string]any{"enum": []any{"off", false}}, of.schema}},
	}
}

func contentFields() object[record.ContentSettings] {
	return object[record.ContentSettings]{
		fields: []field[record.ContentSettings]{
			is("prompts", func(c *record.ContentSettings) *bool { return &c.Prompts }, boolean(),
				"What is new in a request: not the whole conversation again, no results of tools, and at most 64 KiB. The pool's requests are then read whole, up to its `max_body`."),
			is("retain", func(c *record.ContentSettings) *record.Retention { return &c.Retain }, retentionFields(record.DefaultContentRetention), "How long it is kept, apart from the records."),
		},
		start:   func(func(string) string) record.ContentSettings { return defaults.Record.Content },
		example: "{prompts: true}",
	}
}

func retentionFields(d record.Retention) object[record.Retention] {
	return object[record.Retention]{
		fields: []field[record.Retention]{
			is("for", func(c *record.Retention) *time.Duration { return &c.For }, duration(record.MinRetention, record.MaxRetention), "Older ones are deleted, a day at a time."),
			is("bytes", func(c *record.Retention) *int64 { return &c.Bytes }, size(record.MinRetainedBytes, record.MaxRetainedBytes), "What they may take on the disk, with `sqlite`: the oldest day goes first."),
		},
		start:   func(func(string) string) record.Retention { return d },
		example: "{for: 720h}",
	}
}

func priceFields() object[record.PriceRule] {
	pattern := func() scalar[string] {
		return pattern("text", "a name such as gpt-5*, in which * stands for any text", `^[!-~]{1,200}$`, false)
	}
	return object[record.PriceRule]{
		fields: []field[record.PriceRule]{
			is("pool", func(p *record.PriceRule) *string { return &p.Pool }, pattern(), "Pool; `*` stands for any text.").otherwise("any"),
			is("model", func(p *record.PriceRule) *string { return &p.Model }, pattern(), "Model that answered; `*` stands for any text.").must("gpt-5*"),
			is("since", func(p *record.PriceRule) *time.Time { return &p.Since }, date(), "Day from which the price holds, in UTC; it changes nothing of what was recorded before.").otherwise("always"),
			is("above", func(p *record.PriceRule) *int64 { return &p.Above }, tokens(), "Holds for requests in which the model read more tokens than that.").otherwise("0"),
			is("input", func(p *record.PriceRule) *record.Rate { return &p.Input }, rate(), "What a million tokens cost that the model reads.").must("1.25"),
			is("output", func(p *record.PriceRule) *record.Rate { return &p.Output }, rate(), "And that it writes.").must("10"),
			is("cached", func(p *record.PriceRule) **record.Rate { return &p.Cached }, optional[record.Rate]{rate()}, "And that the provider has in its cache.").otherwise("as input"),
			is("cache_write", func(p *record.PriceRule) **record.Rate { return &p.CacheWrite }, optional[record.Rate]{rate()}, "And that it puts there.").otherwise("as input"),
		},
		example: "{model: gpt-5*, input: 1.25, output: 10}",
	}
}

func rate() scalar[record.Rate] {
	const want = "US dollars for a million tokens, such as 1.25"
	return scalar[record.Rate]{
		word: "price", want: want, tags: []string{"!!str", "!!int", "!!float"}, render: record.Rate.String,
		parse: func(s string) (record.Rate, wrong) {
			v, err := record.ParseRate(s)
			if err != nil {
				return 0, wrong("found " + shown(s) + "; write " + want)
			}
			return v, ""
		},
		schema: map[string]any{"oneOf": []any{map[string]any{"type": "number", "minimum": 0}, map[string]any{"type": "string", "pattern": `^[0-9]{0,6}(\.[0-9]{0,6})?$`}}},
	}
}

func tokens() scalar[int64] {
	n := number(0, 1<<31-1)
	return scalar[int64]{
		word: n.word, want: n.want, tags: n.tags, schema: n.schema,
		parse:  func(s string) (int64, wrong) { v, w := n.parse(s); return int64(v), w },
		render: func(v int64) string { return n.render(int(v)) },
	}
}

func date() scalar[time.Time] {
	const want = "a day such as 2026-12-01"
	return scalar[time.Time]{
		word: "date", want: want, tags: asText, render: func(t time.Time) string { return t.Format(time.DateOnly) },
		parse: func(s string) (time.Time, wrong) {
			t, err := time.Parse(time.DateOnly, s)
			if err != nil {
				return t, wrong("found " + shown(s) + "; write " + want)
			}
			return t, ""
		},
		schema: map[string]any{"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"},
	}
}

// wholeContent warns of what keeps nothing of what is said, though it looks as if it did.
func (r *reader) wholeContent(c *Config) {
	kept, asked := !c.Record.Off && c.Record.Content.Prompts, false
	for i := range c.Pools {
		if !c.Pools[i].Content {
			continue
		}
		asked = true
		if !kept {
			r.warn(within(setting.Item("pools", i), "content"), "nothing of what is said is kept, since record.content names nothing; write record.content: {prompts: true}")
		}
	}
	if kept && !asked {
		r.warn("record.content.prompts", "nothing of what is said is kept, since no pool has content: true")
	}
}
