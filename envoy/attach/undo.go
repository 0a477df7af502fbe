package attach

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// What stands around an edit in YAML. The lines that it replaced stand within, as comments.
const (
	beginMark  = "# >>> keyturn attach: "
	optionMark = "# keyturn attach: "
	endMark    = "# <<< keyturn attach"
	wasMark    = "#- "
	cutMark    = "#~ " // as wasMark, of a last line without a newline
)

// recordName is where JSON, which has no comments, keeps what was there: in the metadata of what attach put there first.
const recordName = "keyturn.attach"

// ErrNothing is what Detach returns for a file that attach did not edit.
var ErrNothing = errors.New("nothing of attach's is in the file")

// errChanged is about what was put there and is not there any more.
var errChanged = errors.New("what attach wrote was changed since, so that it cannot be told what stood there: take it out by hand, as docs/attach.md tells")

// record is what is kept of an edited file.
type record struct {
	Options Options  `json:"options"`
	Before  int      `json:"before"`          // bytes of spaces before the item that has the record
	After   string   `json:"after"`           // what was put after it
	Edits   []backed `json:"edits,omitempty"` // in the file's order
}

// backed is an edit that can be undone.
type backed struct {
	New string `json:"new"`
	Old string `json:"old"`
}

// marked writes the lines that were there into the hunks of a YAML file, as comments.
func (e *editor) marked(all []hunk, o Options) ([]hunk, error) {
	options, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	all = slices.Clone(all)
	for i := range all {
		h := &all[i]
		old := string(e.bytes[h.start:h.end])
		indent := h.new[:len(h.new)-len(strings.TrimLeft(h.new, " "))]
		var b strings.Builder
		b.WriteString(indent + beginMark + strings.Join(h.whys, " ") + e.eol)
		if i == 0 {
			b.WriteString(indent + optionMark + string(options) + e.eol)
		}
		whole := true
		for line := range strings.Lines(old) {
			if whole = strings.HasSuffix(line, "\n"); whole {
				b.WriteString(indent + wasMark + line)
			} else {
				b.WriteString(indent + cutMark + line + e.eol)
			}
		}
		b.WriteString(h.new)
		if !whole {
			b.WriteString(e.eol)
		}
		b.WriteString(indent + endMark)
		if whole {
			b.WriteString(e.eol)
		}
		h.new = b.String()
	}
	return all, nil
}

// recorded puts into the first item that is put into a list what is needed to undo the others.
func (e *editor) recorded(o Options) error {
	holder := slices.IndexFunc(e.splices, func(s splice) bool { return s.item && strings.Contains(s.new, "keyturn-inner") })
	if holder < 0 {
		return errors.New("the file is JSON, which has no comments, and has neither the list of listeners nor that of clusters, where what was there could be kept: write it as YAML")
	}
	s := &e.splices[holder]
	r := record{Options: o, Before: s.before, After: trailing(s.new)}
	for i := 0; i < len(e.splices); i++ {
		if i == holder {
			continue
		}
		b, end := backed{New: e.splices[i].new, Old: string(e.bytes[e.splices[i].start:e.splices[i].end])}, e.splices[i].end
		const near = 40 // bytes between two edits that are one to undo: what is longer is found more surely
		for i+1 < len(e.splices) && i+1 != holder && e.splices[i+1].start-end < near {
			i++
			gap := string(e.bytes[end:e.splices[i].start])
			b.New += gap + e.splices[i].new
			b.Old += gap + string(e.bytes[e.splices[i].start:e.splices[i].end])
			end = e.splices[i].end
		}
		r.Edits = append(r.Edits, b)
	}
	j, err := json.Marshal(r)
	if err != nil {
		return err
	}
	held := fmt.Sprintf(`"metadata": {"filter_metadata": {%q: {"record": %s}}}, `, recordName, word(string(j)))
	open := strings.IndexByte(s.new, '{') + 1
	s.new = s.new[:open] + held + s.new[open:]
	c := &e.changes[s.order]
	c.value = value("{" + held + string(c.value[1:]))
	return nil
}

// trailing is what stands after a list's item.
func trailing(s string) string { return s[strings.LastIndexByte(s, '}')+1:] }

// Attached are the options with which a file was edited. The error is ErrNothing for a file that was not.
func Attached(file []byte) (o Options, err error) {
	if holder, r, _ := findRecord(file); holder != nil {
		return r.Options, nil
	}
	for line := range bytes.Lines(file) {
		if j, ok := bytes.CutPrefix(bytes.TrimLeft(line, " "), []byte(optionMark)); ok {
			if err := json.Unmarshal(j, &o); err != nil {
				return o, fmt.Errorf("%w (%w)", errChanged, err)
			}
			return o, nil
		}
	}
	return o, ErrNothing
}

// Detach gives an edited file back as it was. What was changed since stays, where it is not within what attach wrote. The error is ErrNothing
// for a file that was not edited.
func Detach(file []byte) ([]byte, error) {
	if len(file) > 2*maxBytes {
		return nil, fmt.Errorf("the file has %d bytes; at most %d are edited", len(file), 2*maxBytes)
	}
	if holder, r, t := findRecord(file); holder != nil {
		return t.unrecorded(holder, r)
	}
	return unmarked(file)
}

var (
	beginLine = regexp.MustCompile(`^ *` + regexp.QuoteMeta(beginMark))
	endLine   = regexp.MustCompile(`^ *` + regexp.QuoteMeta(endMark) + `\r?\n?$`)
	wasLine   = regexp.MustCompile(`(?s)^ *(#[-~] )(.*)$`)
)

// unmarked undoes what is marked.
func unmarked(file []byte) ([]byte, error) {
	var out bytes.Buffer
	within, found, number := 0, false, 0
	for line := range bytes.Lines(file) {
		number++
		switch {
		case beginLine.Match(line):
			if within > 0 {
				return nil, fmt.Errorf("line %d: %w", number, errChanged)
			}
			within, found = number, true
		case within == 0 && endLine.Match(line):
			return nil, fmt.Errorf("line %d: %w", number, errChanged)
		case endLine.Match(line):
			within = 0
		case within == 0:
			out.Write(line)
		default:
			if m := wasLine.FindSubmatch(line); m != nil {
				old := m[2]
				if string(m[1]) == cutMark {
					old = bytes.TrimRight(old, "\r\n")
				}
				out.Write(old)
			}
		}
	}
	if within > 0 {
		return nil, fmt.Errorf("line %d: %w", within, errChanged)
	}
	if !found {
		return nil, ErrNothing
	}
	return out.Bytes(), nil
}

// findRecord finds the record of a JSON file, and the item that has it; nil without one.
func findRecord(file []byte) (holder *node, r *record, t *text) {
	if !bytes.Contains(file, []byte(recordName)) {
		return nil, nil, nil
	}
	t, err := read(file)
	if err != nil || !t.json {
		return nil, nil, nil
	}
	var visit func(n *node)
	visit = func(n *node) {
		if holder != nil {
			return
		}
		if text := n.word("metadata", "filter_metadata", recordName, "record"); text != "" && n.parent != nil && n.parent.kind == list {
			r = &record{}
			if json.Unmarshal([]byte(text), r) == nil {
				holder = n
				return
			}
		}
		for _, v := range n.values {
			visit(v)
		}
	}
	visit(t.root)
	return holder, r, t
}

// unrecorded undoes what a record tells of.
func (t *text) unrecorded(holder *node, r *record) ([]byte, error) {
	start, end := holder.start-r.Before, holder.end+len(r.After)
	if r.Before < 0 || start < 0 || end > len(t.bytes) || string(t.bytes[holder.end:end]) != r.After || len(bytes.TrimSpace(t.bytes[start:holder.start])) > 0 {
		return nil, errChanged
	}
	rest := slices.Concat(t.bytes[:start], t.bytes[end:])
	out := bytes.NewBuffer(bytes.Clone(t.bom))
	for _, e := range r.Edits {
		before, after, ok := bytes.Cut(rest, []byte(e.New))
		if !ok || e.New == "" {
			return nil, errChanged
		}
		out.Write(before)
		out.WriteString(e.Old)
		rest = after
	}
	out.Write(rest)
	return out.Bytes(), nil
}
