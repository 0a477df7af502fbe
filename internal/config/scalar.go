package config

import (
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/keyturn/keyturn/internal/setting"
)

// wrong says why a text is refused: what was found; what to write instead.
type wrong string

// scalar is a single value, parsed from its text.
type scalar[V any] struct {
	word   string // the reference's word
	want   string // for messages: "a duration such as 30s"
	tags   []string
	parse  func(text string) (V, wrong) // wrong "" accepts
	render func(V) string
	schema map[string]any
}

func (s scalar[V]) read(r *reader, path string, n *yaml.Node, into *V) {
	switch {
	case n.Kind != yaml.ScalarNode, n.Tag == "!!null" && n.Value != "":
		r.refuse(path, "found %s; write %s", found(n), s.want)
		return
	case n.Tag == "!!null":
		r.refuse(path, "found nothing; write %s%s", s.want, orNothing(n))
		return
	case !slices.Contains(s.tags, n.Tag) && slices.Contains(s.tags, "!!str"):
		r.refuse(path, "found %s; write %s, in quotes", found(n), s.want)
		return
	case !slices.Contains(s.tags, n.Tag):
		r.refuse(path, "found %s; write %s", found(n), s.want)
		return
	}
	v, w := s.parse(n.Value)
	if w != "" {
		r.refuse(path, "%s", string(w))
		return
	}
	*into = v
}

func (s scalar[V]) show(v V) string { return s.render(v) } //nolint:unused // called through shape, which the linter does not see for generic types

func (s scalar[V]) describe(V) description { return description{word: s.word, schema: s.schema} }

var asText = []string{"!!str", "!!timestamp"}

func itself(s string) string { return s }

// text is a string that check accepts.
func text(word, want string, check func(string) wrong) scalar[string] {
	return scalar[string]{
		word: word, want: want, tags: asText, render: itself,
		parse:  func(s string) (string, wrong) { return s, check(s) },
		schema: map[string]any{"type": "string"},
	}
}

// pattern is a string that matches re; the schema says so too. Its texts are never repeated when private.
func pattern(word, want, re string, private bool) scalar[string] {
	compiled := regexp.MustCompile(re)
	s := text(word, want, func(s string) wrong {
		switch {
		case compiled.MatchString(s):
			return ""
		case private:
			return wrong("the text here does not fit; write " + want)
		}
		return wrong("found " + shown(s) + "; write " + want)
	})
	s.schema = map[string]any{"type": "string", "pattern": re}
	return s
}

// expression is a regular expression.
func expression() scalar[string] {
	const want = `a regular expression such as "(?i)limit of your plan"`
	s := text("text", want, func(s string) wrong {
		switch _, err := regexp.Compile(s); {
		case err != nil:
			return wrong("found " + shown(s) + ", " + err.Error() + "; write " + want)
		case s == "", len(s) > 500:
			return wrong(fmt.Sprintf("found %d bytes; write %s, of at most 500", len(s), want))
		}
		return ""
	})
	s.schema = map[string]any{"type": "string", "pattern": "^.{1,500}$"}
	return s
}

// choice is one of a few words.
func choice(words ...string) scalar[string] {
	s := text(either(words), either(words), func(s string) wrong {
		if slices.Contains(words, s) {
			return ""
		}
		if near, ok := nearest(s, words); ok {
			return wrong(fmt.Sprintf("found %s; write %s (did you mean %s?)", shown(s), either(words), near))
		}
		return wrong("found " + shown(s) + "; write " + either(words))
	})
	s.schema = map[string]any{"type": "string", "enum": words}
	return s
}

var levels = map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}

func level() scalar[slog.Level] {
	of := choice("debug", "info", "warn", "error")
	return scalar[slog.Level]{
		word: of.word, want: of.want, tags: of.tags, schema: of.schema,
		parse:  func(s string) (slog.Level, wrong) { return levels[s], second(of.parse(s)) },
		render: func(l slog.Level) string { return strings.ToLower(l.String()) },
	}
}

func second(_ string, w wrong) wrong { return w }

// named is one of the values that a package has names for.
func named[V fmt.Stringer](values ...V) scalar[V] {
	words, byWord := make([]string, len(values)), map[string]V{}
	for i, v := range values {
		words[i] = v.String()
		byWord[words[i]] = v
	}
	of := choice(words...)
	return scalar[V]{
		word: of.word, want: of.want, tags: of.tags, schema: of.schema,
		parse:  func(s string) (V, wrong) { return byWord[s], second(of.parse(s)) },
		render: V.String,
	}
}

// orNever makes the zero of a duration a negative one, which for the packages that have a default says: none.
func orNever(s scalar[time.Duration]) scalar[time.Duration] {
	parse, render := s.parse, s.render
	s.parse = func(text string) (time.Duration, wrong) {
		d, w := parse(text)
		if d == 0 {
			d = -1
		}
		return d, w
	}
	s.render = func(d time.Duration) string { return render(max(d, 0)) }
	return s
}

func boolean() scalar[bool] {
	return scalar[bool]{
		word: "true or false", want: "true or false", tags: []string{"!!bool"}, render: strconv.FormatBool,
		parse:  func(s string) (bool, wrong) { return strings.EqualFold(s, "true"), "" },
		schema: map[string]any{"type": "boolean"},
	}
}

func number(from, to int) scalar[int] {
	want := fmt.Sprintf("a whole number from %d to %d", from, to)
	return scalar[int]{
		word: "number", want: want, tags: []string{"!!int"}, render: strconv.Itoa,
		parse: func(s string) (int, wrong) {
			n, err := strconv.Atoi(s)
			if err != nil || n < from || n > to {
				return 0, wrong("found " + shown(s) + "; write " + want)
			}
			return n, ""
		},
		schema: map[string]any{"type": "integer", "minimum": from, "maximum": to},
	}
}

const durationPattern = `^([0-9]+(\.[0-9]+)?(h|m|s|ms))+$`

var durationForm = regexp.MustCompile(durationPattern)

// duration is a time with units. Zero needs none.
func duration(from, to time.Duration) scalar[time.Duration] {
	const want = "a duration such as 30s, 5m or 24h"
	schema := map[string]any{"type": "string", "pattern": durationPattern}
	if from == 0 {
		zero := map[string]any{"enum": []any{0, "0"}}
		schema = map[string]any{"oneOf": []any{schema, zero}}
	}
	return scalar[time.Duration]{
		word: "duration", want: want, tags: []string{"!!str", "!!int", "!!float"}, render: setting.Duration,
		parse: func(s string) (time.Duration, wrong) {
			d, err := time.ParseDuration(s)
			switch _, bare := strconv.ParseFloat(s, 64); {
			case s != "0" && bare == nil:
				return 0, wrong(fmt.Sprintf("found %s without a unit; write %ss for seconds, %sm for minutes", s, s, s))
			case err != nil, s != "0" && !durationForm.MatchString(s):
				return 0, wrong("found " + shown(s) + "; write " + want)
			case d < from:
				return 0, wrong(fmt.Sprintf("found %s; write at least %s", s, setting.Duration(from)))
			case d > to:
				return 0, wrong(fmt.Sprintf("found %s; write at most %s", s, setting.Duration(to)))
			}
			return d, ""
		},
		schema: schema,
	}
}

// size is a number of bytes with a unit.
func size(from, to int64) scalar[int64] {
	const want = "a size such as 32MiB (the units are B, KiB, MiB and GiB)"
	return scalar[int64]{
		word: "size", want: want, tags: []string{"!!str", "!!int", "!!float"}, render: setting.Bytes,
		parse: func(s string) (int64, wrong) {
			if n, err := strconv.ParseInt(s, 10, 64); err == nil && n >= 1024 {
				return 0, wrong(fmt.Sprintf("found %s without a unit; write %s", s, setting.Bytes(n)))
			}
			if _, err := strconv.ParseFloat(s, 64); err == nil {
				return 0, wrong(fmt.Sprintf("found %s without a unit; write %sB for bytes, %sMiB for mebibytes", s, s, s))
			}
			for _, u := range setting.Units {
				digits, ok := strings.CutSuffix(s, u.Name)
				if !ok {
					continue
				}
				n, err := strconv.ParseInt(digits, 10, 64)
				switch {
				case err != nil, n < 0:
					return 0, wrong("found " + shown(s) + "; write " + want)
				case n > to/u.Bytes:
					return 0, wrong(fmt.Sprintf("found %s; write at most %s", s, setting.Bytes(to)))
				case n*u.Bytes < from:
					return 0, wrong(fmt.Sprintf("found %s; write at least %s", s, setting.Bytes(from)))
				}
				return n * u.Bytes, ""
			}
			return 0, wrong("found " + shown(s) + "; write " + want)
		},
		schema: map[string]any{"type": "string", "pattern": `^[0-9]+(B|KiB|MiB|GiB)$`},
	}
}

// optional is a pointer to a value that may be left out.
type optional[V any] struct{ shape[V] }

func (o optional[V]) read(r *reader, path string, n *yaml.Node, into **V) { //nolint:unused // called through shape, which the linter does not see for generic types
	var v V
	o.shape.read(r, path, n, &v)
	*into = &v
}

func (optional[V]) show(*V) string { return "" } //nolint:unused // called through shape, which the linter does not see for generic types

func (o optional[V]) describe(*V) description { //nolint:unused // called through shape, which the linter does not see for generic types
	var none V
	return o.shape.describe(none)
}
