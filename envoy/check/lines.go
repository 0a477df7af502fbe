package check

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"go.yaml.in/yaml/v3"
)

// lines finds the lines, from 1, at which places stand in a document's text; a place that the text does not have gets that of what is
// nearest above it. The key is the place's path.
func lines(doc []byte, places []steps) map[string]int {
	found := map[string]int{}
	places = without(places, func(p steps) bool { return len(p) == 0 })
	var top yaml.Node
	switch {
	case len(places) == 0:
	case jsontext.Value(doc).IsValid(): // a dump may be large, and its nodes are many times that
		jsonLines(doc, places, found)
	case yaml.Unmarshal(doc, &top) == nil && len(top.Content) > 0:
		for _, p := range places {
			found[p.String()] = yamlLine(top.Content[0], p)
		}
	}
	return found
}

func yamlLine(n *yaml.Node, p steps) int {
	line := n.Line
	for _, step := range p {
		if n.Kind == yaml.AliasNode {
			n = n.Alias
		}
		var next *yaml.Node
		switch n.Kind {
		case yaml.MappingNode:
			for i := 0; i+1 < len(n.Content); i += 2 {
				if n.Content[i].Value == step {
					line, next = n.Content[i].Line, n.Content[i+1]
				}
			}
		case yaml.DocumentNode, yaml.ScalarNode, yaml.AliasNode:
		case yaml.SequenceNode:
			if i, err := strconv.Atoi(step); err == nil && i < len(n.Content) {
				next = n.Content[i]
				line = next.Line
			}
		}
		if next == nil {
			return line
		}
		n = next
	}
	return line
}

// jsonLines reads the text once. A text of one line has no lines to tell.
func jsonLines(doc []byte, places []steps, found map[string]int) {
	if bytes.IndexByte(bytes.TrimSpace(doc), '\n') < 0 {
		return
	}
	wanted := map[string][]string{} // by the pointer of a place and of each above it
	for _, p := range places {
		for i := range len(p) + 1 {
			at := pointer(p[:i])
			wanted[at] = append(wanted[at], p.String())
		}
	}
	d := jsontext.NewDecoder(bytes.NewReader(doc), jsontext.AllowDuplicateNames(true))
	line, counted := 1, int64(0)
	for {
		_, err := d.ReadToken()
		if errors.Is(err, io.EOF) || err != nil {
			return
		}
		end := d.InputOffset()
		line += bytes.Count(doc[counted:end], []byte("\n"))
		counted = end
		for _, path := range wanted[string(d.StackPointer())] {
			found[path] = line // the deepest is the last
		}
		delete(wanted, string(d.StackPointer())) // its own first token is what is meant
	}
}

// pointer is a place as RFC 6901 writes it.
func pointer(p steps) string {
	var b strings.Builder
	for _, step := range p {
		b.WriteString("/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(step))
	}
	return b.String()
}
