package attach

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
	"go.yaml.in/yaml/v3"
)

// Bounds of a document, beyond which it is nobody's own file.
const (
	maxBytes = 8 << 20
	maxDepth = 200
)

type kind uint8

const (
	scalar kind = iota
	mapping
	list
	alias // stands for what is written elsewhere
)

// node is a value with its place in the text.
type node struct {
	kind       kind
	flow       bool // {…}, […], or a scalar
	start, end int  // bytes; end is -1 where it is not known
	text       string
	names      []string // of a mapping's fields, as they are written
	values     []*node  // of its fields, or a list's
	shared     string   // why it must not be edited: an anchor, a tag, a merge key
	parent     *node
	path       []any // the fields' names as they are written, and the items' numbers
}

// settle notes where each value stands among the others.
func (n *node) settle(parent *node, path []any) {
	n.parent, n.path = parent, path
	for i, v := range n.values {
		step := any(i)
		if n.kind == mapping {
			step = n.names[i]
		}
		v.settle(n, append(slices.Clip(path), step))
	}
}

// editable says why neither the value nor what it stands in may be edited; nil: it may.
func (n *node) editable() error {
	for at := n; at != nil; at = at.parent {
		if at.shared != "" {
			return errors.New(at.shared)
		}
	}
	return nil
}

// field is the value of a field of a mapping, by its name in Envoy's documentation; nil without one. JSON may write it in camelCase.
func (n *node) field(names ...string) *node {
	for _, name := range names {
		i := n.index(name)
		if i < 0 {
			return nil
		}
		n = n.values[i]
	}
	return n
}

func (n *node) index(name string) int {
	if n == nil || n.kind != mapping {
		return -1
	}
	for i, own := range n.names {
		if own == name || snake(own) == name {
			return i
		}
	}
	return -1
}

// items are those of a list that is a field, none without one.
func (n *node) items(names ...string) []*node {
	if f := n.field(names...); f != nil && f.kind == list {
		return f.values
	}
	return nil
}

// word is a field that is a scalar, "" without one.
func (n *node) word(names ...string) string {
	if f := n.field(names...); f != nil && f.kind == scalar {
		return f.text
	}
	return ""
}

// is reports whether an extension's configuration has a type of this name.
func (n *node) is(name string) bool { return strings.HasSuffix(n.word("@type"), "."+name) }

// snake is a field's name as Envoy's documentation has it.
func snake(name string) string {
	var b strings.Builder
	for _, r := range name {
		if unicode.IsUpper(r) {
			b.WriteByte('_')
			r = unicode.ToLower(r)
		}
		b.WriteRune(r)
	}
	return b.String()
}

// text is a file that can be edited.
type text struct {
	bom   []byte // what stands before the document
	bytes []byte
	lines []int // where each begins
	eol   string
	json  bool
	root  *node
	plain any // the values without their places
}

var byteOrderMark = []byte("\xef\xbb\xbf")

// read reads a file and finds the places of its values.
func read(file []byte) (*text, error) {
	t := &text{bytes: file, eol: "\n"}
	if len(file) > maxBytes {
		return nil, fmt.Errorf("the file has %d bytes; at most %d are edited", len(file), maxBytes)
	}
	if rest, ok := bytes.CutPrefix(file, byteOrderMark); ok {
		t.bom, t.bytes = byteOrderMark, rest
	}
	if !utf8.Valid(t.bytes) {
		return nil, errors.New("the file is not UTF-8: save it as UTF-8 first")
	}
	if bytes.Contains(t.bytes, []byte("\r\n")) {
		t.eol = "\r\n"
	}
	for _, line := range []string{"\u0085", "\u2028", "\u2029"} {
		if bytes.Contains(t.bytes, []byte(line)) {
			return nil, errors.New("the file has line separators other than LF and CRLF, which YAML counts as lines and editors do not")
		}
	}
	if n := bytes.Count(t.bytes, []byte("\r")); n != bytes.Count(t.bytes, []byte("\r\n")) {
		return nil, errors.New("the file has CR alone as a line's end: save it with LF or CRLF")
	}
	t.lines = lineStarts(t.bytes)
	if jsontext.Value(t.bytes).IsValid() {
		t.json = true
		return t, t.settled(t.readJSON())
	}
	return t, t.settled(t.readYAML())
}

func (t *text) settled(err error) error {
	if err == nil {
		t.root.settle(nil, nil)
	}
	return err
}

// readYAML reads the one document of the file.
func (t *text) readYAML() error {
	d := yaml.NewDecoder(bytes.NewReader(t.bytes))
	var top, more yaml.Node
	if err := d.Decode(&top); err != nil {
		switch {
		case errors.Is(err, io.EOF):
			return errors.New("the file is empty")
		case bytes.Contains(t.bytes, []byte("{{")) || bytes.Contains(t.bytes, []byte("{%")):
			return fmt.Errorf("the file looks like a template: attach to what it renders, or write the lines of docs/envoy.md into it by hand (%w)", err)
		}
		return fmt.Errorf("neither JSON nor YAML: %w", err)
	}
	if err := d.Decode(&more); !errors.Is(err, io.EOF) {
		return errors.New("the file has several YAML documents, of which Envoy reads one: keep them in files of their own")
	}
	if len(top.Content) == 0 || top.Content[0].Kind != yaml.MappingNode {
		return errors.New("not an Envoy configuration: not a mapping of fields")
	}
	b := yamlBuilder{text: t}
	var err error
	if t.root, err = b.build(top.Content[0], 0); err != nil {
		return err
	}
	if err := top.Decode(&t.plain); err != nil {
		return fmt.Errorf("not an Envoy configuration: %w", err)
	}
	return nil
}

func lineStarts(b []byte) []int {
	starts := []int{0}
	for i, c := range b {
		if c == '\n' {
			starts = append(starts, i+1)
		}
	}
	return starts
}

type yamlBuilder struct {
	*text
	line, column, at int // the last place that was found: values come in the text's order
}

// offset is where a place of the parser's is. It counts characters, not bytes.
func (b *yamlBuilder) offset(line, column int) int {
	if line < 1 || line > len(b.lines) {
		return -1
	}
	if line != b.line || column < b.column {
		b.line, b.column, b.at = line, 1, b.lines[line-1]
	}
	for ; b.column < column; b.column++ {
		if b.at >= len(b.bytes) {
			return -1
		}
		_, size := utf8.DecodeRune(b.bytes[b.at:])
		b.at += size
	}
	return b.at
}

func (b *yamlBuilder) build(y *yaml.Node, depth int) (*node, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("line %d: more than %d values within one another", y.Line, maxDepth)
	}
	n := &node{start: b.offset(y.Line, y.Column), end: -1, text: y.Value, flow: y.Style&yaml.FlowStyle != 0}
	switch {
	case y.Anchor != "":
		n.shared = fmt.Sprintf("line %d: the anchor &%s, whose value stands elsewhere too", y.Line, y.Anchor)
	case y.Kind == yaml.AliasNode:
		n.kind, n.shared = alias, fmt.Sprintf("line %d: the alias *%s, whose value is written elsewhere", y.Line, y.Value)
		return n, nil
	case y.Style&yaml.TaggedStyle != 0:
		n.shared = fmt.Sprintf("line %d: the tag %s", y.Line, y.Tag)
	}
	switch y.Kind {
	case yaml.MappingNode:
		n.kind = mapping
		for i := 0; i+1 < len(y.Content); i += 2 {
			if y.Content[i].Tag == "!!merge" {
				n.shared = fmt.Sprintf("line %d: a merge key (<<)", y.Content[i].Line)
			}
			v, err := b.build(y.Content[i+1], depth+1)
			if err != nil {
				return nil, err
			}
			n.names, n.values = append(n.names, y.Content[i].Value), append(n.values, v)
		}
	case yaml.SequenceNode:
		n.kind = list
		for _, c := range y.Content {
			v, err := b.build(c, depth+1)
			if err != nil {
				return nil, err
			}
			n.values = append(n.values, v)
		}
	case yaml.ScalarNode, yaml.DocumentNode, yaml.AliasNode:
		n.flow = true
		if strings.Contains(n.text, "{{") && y.Style&(yaml.LiteralStyle|yaml.FoldedStyle) == 0 {
			n.shared = fmt.Sprintf("line %d: what looks like a template", y.Line)
		}
	}
	b.finish(n, y)
	return n, nil
}

// finish finds the end of a value, where that can be known.
func (b *yamlBuilder) finish(n *node, y *yaml.Node) {
	if n.start < 0 || n.shared != "" && n.kind == scalar {
		return
	}
	switch {
	case n.kind == scalar:
		n.end = b.scalarEnd(n, y)
	case n.flow:
		at := n.start + 1
		for _, v := range n.values {
			at = v.end
		}
		n.end = b.closing(at)
	default:
		for _, v := range n.values {
			n.end = v.end
		}
	}
}

func (b *yamlBuilder) scalarEnd(n *node, y *yaml.Node) int {
	rest := b.bytes[n.start:]
	switch {
	case y.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		return -1
	case y.Style&yaml.DoubleQuotedStyle != 0 && rest[0] == '"':
		for i := 1; i < len(rest); i++ {
			if rest[i] == '\\' {
				i++
			} else if rest[i] == '"' {
				return n.start + i + 1
			}
		}
	case y.Style&yaml.SingleQuotedStyle != 0 && rest[0] == '\'':
		for i := 1; i < len(rest); i++ {
			if rest[i] != '\'' {
				continue
			}
			if i+1 == len(rest) || rest[i+1] != '\'' {
				return n.start + i + 1
			}
			i++
		}
	case y.Style == 0 && bytes.HasPrefix(rest, []byte(n.text)):
		return n.start + len(n.text)
	}
	return -1
}

// closing finds the bracket after the last value of a flow collection: spaces, a comma and comments may stand between.
func (b *yamlBuilder) closing(at int) int {
	for at >= 0 && at < len(b.bytes) {
		switch b.bytes[at] {
		case '}', ']':
			return at + 1
		case ' ', '\t', '\r', '\n', ',':
			at++
		case '#':
			for at < len(b.bytes) && b.bytes[at] != '\n' {
				at++
			}
		default:
			return -1
		}
	}
	return -1
}

// readJSON reads the file's one value.
func (t *text) readJSON() error {
	d := jsontext.NewDecoder(bytes.NewReader(t.bytes))
	var err error
	if t.root, err = jsonNode(d, t.bytes, 0); err != nil {
		return err
	}
	if t.root.kind != mapping {
		return errors.New("not an Envoy configuration: not a mapping of fields")
	}
	t.plain, err = plainJSON(t.bytes)
	return err
}

func jsonNode(d *jsontext.Decoder, doc []byte, depth int) (*node, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("more than %d values within one another", maxDepth)
	}
	token, err := d.ReadToken()
	if err != nil {
		return nil, err
	}
	n := &node{flow: true, end: int(d.InputOffset())}
	switch token.Kind() {
	case '{', '[':
		n.start = n.end - 1
		n.kind = mapping
		if token.Kind() == '[' {
			n.kind = list
		}
		for d.PeekKind() != '}' && d.PeekKind() != ']' {
			if n.kind == mapping {
				name, err := d.ReadToken()
				if err != nil {
					return nil, err
				}
				n.names = append(n.names, name.String())
			}
			v, err := jsonNode(d, doc, depth+1)
			if err != nil {
				return nil, err
			}
			n.values = append(n.values, v)
		}
		if _, err := d.ReadToken(); err != nil {
			return nil, err
		}
		n.end = int(d.InputOffset())
	case '"':
		n.text = token.String()
		n.start = quoteBefore(doc, n.end)
	default:
		n.text = token.String()
		n.start = n.end - len(n.text)
		if !bytes.HasPrefix(doc[max(n.start, 0):], []byte(n.text)) {
			n.start, n.end = -1, -1 // a number in a form that is not its own
		}
	}
	return n, nil
}

// quoteBefore is where the string that ends here begins: at the last quote before it that no backslash stands before.
func quoteBefore(doc []byte, end int) int {
	for i := end - 2; i >= 0; i-- {
		if doc[i] != '"' {
			continue
		}
		n := 0
		for i-n-1 >= 0 && doc[i-n-1] == '\\' {
			n++
		}
		if n%2 == 0 {
			return i
		}
	}
	return -1
}
