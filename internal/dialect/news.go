package dialect

import (
	"strings"

	"github.com/keyturn/keyturn/internal/dialect/rawjson"
)

// News is what people or programs say for the first time in a request's body: what stands behind the model's last words in the conversation, and in a
// first request what the model is told of its task. Of what is no text only the kind is named, and results of tools are left out. It has at most limit
// bytes; more says that there were more. Two paragraphs stand between what was said apart.
func News(body []byte, limit int) (text string, more bool) {
	if !rawjson.IsObject(body) || !rawjson.Valid(body) {
		return "", false
	}
	n := news{b: body, limit: limit}
	whole := rawjson.Whole(body)
	if v, ok := rawjson.Lookup(body, whole, "previous_response_id"); !ok || rawjson.IsNull(v.Of(body)) {
		for _, name := range []string{"system", "instructions"} {
			if v, ok := rawjson.Lookup(body, whole, name); ok {
				n.content(v)
			}
		}
	}
	for _, name := range []string{"messages", "input", "prompt"} {
		if v, ok := rawjson.Lookup(body, whole, name); ok {
			n.conversation(v)
		}
	}
	return n.said.String(), n.more
}

// news gathers the text of a request.
type news struct {
	b     []byte
	limit int
	said  strings.Builder
	more  bool
}

// conversation takes a list of messages, or one message that is a text.
func (n *news) conversation(at rawjson.Span) {
	if n.b[at.Start] != '[' {
		n.content(at)
		return
	}
	for e := range rawjson.Elements(n.b, at) {
		kind, role := rawjson.Text(n.b, e, "type"), rawjson.Text(n.b, e, "role")
		switch {
		case role == "assistant" || kind == "reasoning" || strings.HasSuffix(kind, "_call"):
			n.said.Reset()
			n.more = false
		case role == "tool" || role == "function" || strings.HasSuffix(kind, "_output"):
		default:
			if v, ok := rawjson.Lookup(n.b, e, "content"); ok {
				n.content(v)
			}
		}
	}
}

// content takes what one message says: a text, or a list of parts.
func (n *news) content(at rawjson.Span) {
	switch n.b[at.Start] {
	case '"':
		n.add(rawjson.Unquote(at.Of(n.b)))
	case '[':
		for part := range rawjson.Elements(n.b, at) {
			kind := rawjson.Text(n.b, part, "type")
			v, ok := rawjson.Lookup(n.b, part, "text")
			switch {
			case ok:
				n.add(rawjson.Unquote(v.Of(n.b)))
			case kind != "" && kind != "tool_result":
				n.add("[" + kind + "]")
			}
		}
	}
}

func (n *news) add(text string) {
	if text == "" || n.more {
		return
	}
	if n.said.Len() > 0 {
		text = "\n\n" + text
	}
	if room := n.limit - n.said.Len(); len(text) > room {
		text, n.more = text[:room], true
	}
	n.said.WriteString(text)
}
