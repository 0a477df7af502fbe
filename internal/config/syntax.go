package config

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// document returns the one document of a file, or nil after noting what is wrong with it.
func (r *reader) document(data []byte) *yaml.Node {
	feed := &byLine{rest: data}
	dec := yaml.NewDecoder(feed)
	first, err := decode(dec)
	switch {
	case errors.Is(err, io.EOF) || err == nil && isNothing(first):
		r.refuse("", "is empty; a configuration begins with pools:")
		return nil
	case err != nil:
		r.syntax(err, data, feed.lines)
		return nil
	}
	switch second, err := decode(dec); {
	case errors.Is(err, io.EOF):
		return first.Content[0]
	case err != nil:
		r.syntax(err, data, feed.lines)
	default:
		r.add(problem{file: r.file, line: second.Line, from: second.Line, text: "a second document begins here; a configuration is one document: remove the ---"})
	}
	return nil
}

func isNothing(n *yaml.Node) bool {
	return len(n.Content) == 0 || n.Content[0].Tag == "!!null"
}

// decode reads one document. The library's panics become errors: a broken file must not end a process that serves.
func decode(dec *yaml.Decoder) (n *yaml.Node, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = errors.New("cannot be parsed")
		}
	}()
	n = &yaml.Node{}
	return n, dec.Decode(n)
}

// byLine hands out a line at a time, so that the number of lines tells how far the parser came: its own errors name the line where a
// construct began, often one off.
type byLine struct {
	rest  []byte
	lines int
}

func (b *byLine) Read(p []byte) (int, error) {
	if len(b.rest) == 0 {
		return 0, io.EOF
	}
	end := bytes.IndexByte(b.rest, '\n') + 1
	if end == 0 {
		end = len(b.rest)
	}
	n := copy(p, b.rest[:end])
	if b.rest = b.rest[n:]; n == end {
		b.lines++
	}
	return n, nil
}

var (
	parserError   = regexp.MustCompile(`^yaml: (?:line ([0-9]+): )?(.*)$`)
	unknownAnchor = regexp.MustCompile(`^unknown anchor '(.*)' referenced$`)
)

// sentences say what the parser means, and what to write instead.
var sentences = []struct{ parser, ours string }{
	{"found a tab character", "a tab in the indentation; indent with spaces"},
	{"found character that cannot start any token", "a character that no value can begin with, such as a tab, @ or %; indent with spaces, and put such a value in quotes"},
	{"mapping values are not allowed", `a second ":" that does not fit; put the value in quotes, or look for a missing ":" or a wrong indentation on the line before`},
	{"could not find expected ':'", `no ":" on this line; write name: value`},
	{"did not find expected key", "the indentation or the quotes do not fit here; indent the fields of one mapping alike, and close quotes once"},
	{"did not find expected '-' indicator", `no "- " where the next entry of the list belongs; indent the fields of an entry deeper than its "-"`},
	{"did not find expected ',' or ']'", "a [ on this line or above is not closed; write ] after the last entry, and commas between"},
	{"did not find expected ',' or '}'", "a { on this line or above is not closed; write } after the last field, and commas between"},
	{"found unexpected end of stream", "a quote that begins here is never closed; close it"},
	{"did not find expected node content", "no value where one belongs; write one, or close the bracket"},
	{"did not find expected alphabetic or numeric", "a * or & that begins no name; put a value such as *text in quotes"},
	{"control characters are not allowed", "a control character; this is no text file, or it was damaged"},
	{"found undefined tag handle", "a tag of its own (!name); remove it"},
	{"UTF-8", "a character that is not UTF-8; save the file as UTF-8"},
	{"UTF-16", "a character that is not UTF-8; save the file as UTF-8"},
	{"incompatible YAML document", "a %YAML line of another version; remove it"},
	{"exceeded max depth", "too many levels; write fewer"},
}

// syntax notes a parser's error, found after so many lines.
func (r *reader) syntax(err error, data []byte, lines int) {
	m := parserError.FindStringSubmatch(err.Error())
	if m == nil {
		m = []string{"", "", err.Error()}
	}
	p := problem{file: r.file, text: "cannot be parsed as YAML (" + m[2] + "); write it as YAML 1.2"}
	if a := unknownAnchor.FindStringSubmatch(m[2]); a != nil {
		p.text = "the anchor " + shown(a[1]) + " is not defined above; define it with &, or put a value such as *text in quotes"
	}
	for _, s := range sentences {
		if strings.Contains(m[2], s.parser) {
			p.text = s.ours
		}
	}
	p.line = firstWith(m[2], data, lines)
	if begin, err := strconv.Atoi(m[1]); strings.Contains(m[2], "end of stream") {
		p.line = 1 // where the parser names no line, or one behind the end
		if err == nil && begin <= lines {
			p.line = begin
		}
	}
	p.from = p.line
	r.add(p)
}

// firstWith returns the line that the error comes from. The parser may have looked a few lines ahead: the first of them that
// suffices for the same error is the one.
func firstWith(message string, data []byte, lines int) int {
	const ahead = 3
	all := bytes.SplitAfter(data, []byte("\n"))
	for k := max(1, lines-ahead); k < lines; k++ {
		dec := yaml.NewDecoder(bytes.NewReader(bytes.Join(all[:k], nil)))
		for {
			_, err := decode(dec)
			if err == nil {
				continue
			}
			if m := parserError.FindStringSubmatch(err.Error()); m != nil && m[2] == message {
				return k
			}
			break
		}
	}
	return max(1, lines)
}
