package attach

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json/jsontext"
)

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
