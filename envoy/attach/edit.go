package attach

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// splice puts a text in the place of another.
type splice struct {
	start, end int
	new        string
	why        string
	order      int
	before     int // of an item that is put into a list of JSON: how many bytes of new stand before it
	item       bool
}

// change is what a splice does to the values, to hold the result against.
type change struct {
	path    []any // of the mapping or the list, or of the value
	name    string
	item    bool // put at the beginning of the list
	replace bool
	value   value
}

// editor collects what is to be changed in a text.
type editor struct {
	*text
	splices []splice
	changes []change
	errs    []error
}

// refuse notes why the text cannot be edited.
func (e *editor) refuse(n *node, format string, args ...any) {
	err := fmt.Errorf("line %d: "+format, append([]any{e.line(n.start)}, args...)...)
	if !slices.ContainsFunc(e.errs, func(o error) bool { return o.Error() == err.Error() }) {
		e.errs = append(e.errs, err)
	}
}

// line is the line of a place, from 1.
func (e *editor) line(at int) int {
	i, found := slices.BinarySearch(e.lines, at)
	if found {
		i++
	}
	return max(1, i)
}

// may reports whether a value may be edited, and notes why not.
func (e *editor) may(n *node) bool {
	if err := n.editable(); err != nil {
		if !slices.ContainsFunc(e.errs, func(o error) bool { return o.Error() == err.Error() }) {
			e.errs = append(e.errs, err)
		}
		return false
	}
	if n.start < 0 {
		e.refuse(n, "its place cannot be told")
		return false
	}
	return true
}

func (e *editor) add(s splice, c change) {
	s.order = len(e.splices)
	e.splices, e.changes = append(e.splices, s), append(e.changes, c)
}

// onlyDashes is what may stand before a value on its line for more to be put before it.
var onlyDashes = regexp.MustCompile(`^ *(?:- +)*$`)

// column is that of a value in lines of its own, in bytes from 0; -1 where something else stands before it.
func (e *editor) column(n *node) int {
	start := bytes.LastIndexByte(e.bytes[:n.start], '\n') + 1
	if !onlyDashes.Match(e.bytes[start:n.start]) {
		return -1
	}
	return n.start - start
}

// field puts a field at the beginning of a mapping.
func (e *editor) field(n *node, name string, v value, why string) {
	if !e.may(n) {
		return
	}
	c := change{path: n.path, name: name, value: v}
	if n.flow {
		e.add(splice{start: n.start + 1, end: n.start + 1, new: e.within(n, name, v), why: why}, c)
		return
	}
	one, err := v.entry(name)
	column := e.column(n)
	if err != nil || column < 0 || n.kind != mapping {
		e.refuse(n, "%s cannot be put before what stands here: give the value lines of its own", name)
		return
	}
	e.add(splice{start: n.start, end: n.start, new: e.indented(one, column), why: why}, c)
}

// item puts a value at the beginning of a list.
func (e *editor) item(n *node, v value, why string) {
	if !e.may(n) {
		return
	}
	c := change{path: n.path, item: true, value: v}
	if n.flow {
		s := splice{start: n.start + 1, end: n.start + 1, new: e.within(n, "", v), why: why, item: true}
		s.before = len(s.new) - len(strings.TrimLeft(s.new, " \t\r\n"))
		e.add(s, c)
		return
	}
	one, err := v.block()
	column := e.column(n)
	if err != nil || column < 0 || n.start >= len(e.bytes) || e.bytes[n.start] != '-' {
		e.refuse(n, "nothing can be put before the first item: give it a line of its own")
		return
	}
	one = "- " + strings.ReplaceAll(one, "\n", "\n  ")
	e.add(splice{start: n.start, end: n.start, new: e.indented(one, column), why: why}, c)
}

// replace puts a value in the place of another.
func (e *editor) replace(n *node, v value, why string) {
	if !e.may(n) {
		return
	}
	if n.end < n.start || n.end == n.start && n.kind != scalar {
		e.refuse(n, "the end of what must be replaced cannot be told: write it on one line, without text of several lines")
		return
	}
	e.add(splice{start: n.start, end: n.end, new: e.scalar(v), why: why}, change{path: n.path, replace: true, value: v})
}

// unquoted are the words that need no quotes in any YAML.
var unquoted = regexp.MustCompile(`^"[a-z]+(?:-[a-z]+)+"$|^"0s"$`)

func (e *editor) scalar(v value) string {
	if !e.json && unquoted.Match(v) {
		return strings.Trim(string(v), `"`)
	}
	return v.flowed()
}

// within is what is written after the opening bracket.
func (e *editor) within(n *node, name string, v value) string {
	inner := e.bytes[n.start+1:]
	space := string(inner[:len(inner)-len(bytes.TrimLeft(inner, " \t\r\n"))])
	if !e.json {
		space = ""
	}
	one := v.flowed()
	const long = 120
	if i := strings.LastIndexByte(space, '\n'); i >= 0 && len(one) > long {
		unit := "  "
		if strings.Contains(space, "\t") {
			unit = "\t"
		}
		formatted, err := jsontext.AppendFormat(nil, v, jsontext.WithIndentPrefix(space[i+1:]), jsontext.WithIndent(unit))
		if err == nil {
			one = strings.ReplaceAll(string(formatted), "\n", e.eol)
		}
	}
	if name != "" && e.json {
		one = string(word(name)) + ": " + one
	} else if name != "" {
		one = name + ": " + one
	}
	if len(n.values) == 0 {
		if slices.ContainsFunc(e.splices, func(s splice) bool { return s.start == n.start+1 }) {
			return ", " + one
		}
		return one
	}
	if space == "" {
		return one + ", "
	}
	return space + one + ","
}

// indented are the lines of a block, and the beginning of the next line.
func (e *editor) indented(block string, column int) string {
	indent := e.eol + strings.Repeat(" ", column)
	var b strings.Builder
	for i, line := range strings.Split(block, "\n") {
		if i > 0 {
			b.WriteString(indent)
		}
		b.WriteString(line)
	}
	return b.String() + indent
}

// hunk is a part of the text in whole lines, and what comes in its place.
type hunk struct {
	start, end int
	new        string
	whys       []string
}

// hunks join the splices that touch the same lines. What is put before a line's first word is lines of its own.
func (e *editor) hunks() (all []hunk) {
	slices.SortStableFunc(e.splices, func(a, b splice) int {
		if a.start != b.start {
			return a.start - b.start
		}
		return (a.end - b.end) // what is put before a value stands before what replaces it
	})
	for i := 0; i < len(e.splices); {
		s := e.splices[i]
		from := bytes.LastIndexByte(e.bytes[:s.start], '\n') + 1
		if lead := string(e.bytes[from:s.start]); s.start == s.end && strings.TrimLeft(lead, " ") == "" && strings.HasSuffix(s.new, e.eol+lead) {
			all = append(all, hunk{start: from, end: from, new: lead + strings.TrimSuffix(s.new, lead), whys: []string{s.why}})
			i++
			continue
		}
		h := hunk{start: from}
		at, to := from, from
		var b strings.Builder
		for ; i < len(e.splices); i++ {
			s := e.splices[i]
			if to > from && s.start >= to {
				break
			}
			b.Write(e.bytes[at:s.start])
			b.WriteString(s.new)
			at = s.end
			if n := bytes.IndexByte(e.bytes[at:], '\n'); n >= 0 {
				to = at + n + 1
			} else {
				to = len(e.bytes)
			}
			if !slices.Contains(h.whys, s.why) {
				h.whys = append(h.whys, s.why)
			}
		}
		b.Write(e.bytes[at:to])
		h.end, h.new = to, b.String()
		all = append(all, h)
	}
	return all
}

// overlaps says whether two edits are about the same text, which none should be.
func (e *editor) overlaps() error {
	last := 0
	for _, s := range e.splices {
		if s.start < last {
			return fmt.Errorf("line %d: two edits meet here; this is a fault of attach", e.line(s.start))
		}
		last = s.end
	}
	return nil
}

// apply puts the hunks into the text.
func (e *editor) apply(all []hunk) []byte {
	var b bytes.Buffer
	b.Write(e.bom)
	at := 0
	for _, h := range all {
		b.Write(e.bytes[at:h.start])
		b.WriteString(h.new)
		at = h.end
	}
	b.Write(e.bytes[at:])
	return b.Bytes()
}

// verify holds a result against the values that it should have: wherever a place was told wrongly, nothing is written.
func (e *editor) verify(result []byte) error {
	got, err := read(result)
	if err != nil {
		return fmt.Errorf("the file cannot be edited safely: %w", err)
	}
	want, err := normal(e.plain)
	if err != nil {
		return err
	}
	// Items last, the deepest first: they move the numbers of those after them.
	changes := slices.Clone(e.changes)
	slices.Reverse(changes) // of two that are put at the beginning, the first ends up in front
	slices.SortStableFunc(changes, func(a, b change) int {
		if !a.item || !b.item {
			return boolean(a.item) - boolean(b.item)
		}
		return len(b.path) - len(a.path)
	})
	for i := range changes {
		v, err := plainJSON(changes[i].value)
		if err != nil {
			return err
		}
		if want, err = changed(want, changes[i].path, &changes[i], v); err != nil {
			return err
		}
	}
	have, err := normal(got.plain)
	if err != nil {
		return err
	}
	if !reflect.DeepEqual(want, have) {
		return errors.New("the file is written in a way in which it cannot be edited safely: it would say something else afterwards")
	}
	return nil
}

func boolean(b bool) int {
	if b {
		return 1
	}
	return 0
}

// normal are values as JSON has them, by whatever they were read.
func normal(v any) (any, error) {
	j, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("YAML that JSON cannot say: %w", err)
	}
	return plainJSON(j)
}

// changed is a value after a change at a path below it.
func changed(at any, path []any, c *change, v any) (any, error) {
	if len(path) == 0 {
		switch at := at.(type) {
		case map[string]any:
			if !c.replace {
				at[c.name] = v
				return at, nil
			}
		case []any:
			if c.item {
				return append([]any{v}, at...), nil
			}
		}
		if c.replace {
			return v, nil
		}
		return nil, errors.New("an edit of what is no list and no mapping")
	}
	var err error
	switch at := at.(type) {
	case map[string]any:
		name, _ := path[0].(string)
		at[name], err = changed(at[name], path[1:], c, v)
		return at, err
	case []any:
		if i, ok := path[0].(int); ok && i < len(at) {
			at[i], err = changed(at[i], path[1:], c, v)
			return at, err
		}
	}
	return nil, errors.New("an edit below what is no list and no mapping")
}
