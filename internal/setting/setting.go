// Package setting is how a package says which of its own settings cannot be: by the setting's path, in words that say what was found and what to
// write instead. Whoever read the settings from a file can say where in the file that is. It is used by the packages that have settings, so that
// each setting has one judge.
package setting

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Problem is one setting that cannot be.
type Problem struct {
	// Path leads to the setting within what was judged, in the file's words: "cooldown.max", "policy.rules[1].for". Empty: what was judged as a
	// whole.
	Path string
	// Beside is the path of another setting that this one contradicts. Empty: none.
	Beside string
	// Text says what was found; what to write instead. Never a secret.
	Text string
	// Cause is what errors.Is finds. Nil: nothing.
	Cause error
}

// Error returns the path and the text.
func (p *Problem) Error() string {
	if p.Path == "" {
		return p.Text
	}
	return p.Path + ": " + p.Text
}

// Unwrap returns the cause.
func (p *Problem) Unwrap() error { return p.Cause }

// Problems are collected while a package judges its settings. The zero value has none.
type Problems []*Problem

// Add notes a problem with the setting at path.
func (ps *Problems) Add(path, format string, args ...any) *Problem {
	p := &Problem{Path: path, Text: fmt.Sprintf(format, args...)}
	*ps = append(*ps, p)
	return p
}

// AddWithin notes the problems of what stands at path.
func (ps *Problems) AddWithin(path string, more Problems) {
	for _, p := range more {
		moved := *p
		moved.Path = Within(path, p.Path)
		if p.Beside != "" {
			moved.Beside = Within(path, p.Beside)
		}
		*ps = append(*ps, &moved)
	}
}

// Err joins the problems; nil when there are none.
func (ps Problems) Err() error {
	errs := make([]error, len(ps))
	for i, p := range ps {
		errs[i] = p
	}
	return errors.Join(errs...)
}

// Of returns the problems that err joins.
func Of(err error) []*Problem {
	var all []*Problem
	if joined, ok := err.(interface{ Unwrap() []error }); ok { // its parts are wanted, not one of them
		for _, e := range joined.Unwrap() {
			all = append(all, Of(e)...)
		}
		return all
	}
	var p *Problem
	if errors.As(err, &p) {
		all = append(all, p)
	}
	return all
}

// Within is the path of name, which may be a path itself, in what stands at path.
func Within(path, name string) string {
	switch {
	case path == "":
		return name
	case name == "", strings.HasPrefix(name, "["):
		return path + name
	}
	return path + "." + name
}

// Item is the path of the i-th value of the list at path, from 0.
func Item(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }

// Duration writes a time as a file does: 24h for what time.Duration writes as 24h0m0s, and 0 without a unit.
func Duration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	if s == "0s" {
		return "0"
	}
	return s
}

// Units are the units of sizes, the largest first.
var Units = []struct {
	Name  string
	Bytes int64
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

// Bytes writes a size as a file does, in the largest unit that it is a whole number of.
func Bytes(n int64) string {
	for _, u := range Units {
		if n != 0 && n%u.Bytes == 0 {
			return fmt.Sprintf("%d%s", n/u.Bytes, u.Name)
		}
	}
	return "0B"
}

// Range notes a problem unless from <= v <= to; text writes a value.
func Range[T int | int64 | time.Duration](ps *Problems, path string, v, from, to T, text func(T) string) {
	switch {
	case v < from:
		ps.Add(path, "found %s; write at least %s", text(v), text(from))
	case v > to:
		ps.Add(path, "found %s; write at most %s", text(v), text(to))
	}
}
