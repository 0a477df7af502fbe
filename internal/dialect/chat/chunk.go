package chat

import (
	"slices"

	"github.com/keyturn/keyturn/internal/dialect/rawjson"
)

// chunk is where the members of a chunk stand that decide what becomes of it ("The chat completion chunk object" in OpenAI's
// API reference). A member that is absent is not found.
type chunk struct {
	b                               []byte
	id, created, model, fingerprint rawjson.Member
	object, usage, err, obfuscation rawjson.Member
	choices, choice                 rawjson.Span // the array, and the first choice in it
	count                           int          // number of choices
	delta, finish, logprobs         rawjson.Member
	other                           bool // the choice has something else that is not empty
	role, toolCalls                 rawjson.Member
	fields                          []rawjson.Member // of the delta: all but role and tool_calls
	calls                           []callDelta
	piece                           callDelta // the one being read
}

// callDelta is one element of a delta's tool_calls.
type callDelta struct {
	at       rawjson.Span
	index    rawjson.Member
	id, name rawjson.Span
	args     rawjson.Span
	kind     rawjson.Span
	custom   bool // a call of a custom tool: Keyturn has none
	more     bool // it has members beside those that OpenAI documents
	call     *toolCall
}

// read finds the members. It returns false for anything but one JSON object in which each of those stands once. It looks at every
// byte once.
func (c *chunk) read(b []byte) bool {
	*c = chunk{b: b, fields: c.fields[:0], calls: c.calls[:0]}
	end := scanObject(b, rawjson.SkipSpace(b, 0), c.top)
	return end >= 0 && rawjson.SkipSpace(b, end) == len(b)
}

// keep notes where a member stands. It returns the end of its value, or -1 if it has none or has been there before.
func (c *chunk) keep(m *rawjson.Member, key rawjson.Span, at int) int {
	end := rawjson.SkipValue(c.b, at, 1)
	if end < 0 || m.Val.Found() {
		return -1
	}
	m.Key, m.Val = key, rawjson.Span{Start: at, End: end}
	return end
}

func (c *chunk) top(name []byte, key rawjson.Span, at int) int {
	switch string(name) {
	case "choices":
		if at >= len(c.b) || c.b[at] != '[' {
			return rawjson.SkipValue(c.b, at, 1)
		}
		if c.choices.Found() {
			return -1
		}
		c.choices = rawjson.Span{Start: at, End: scanArray(c.b, at, c.oneChoice)}
		return c.choices.End
	case "id":
		return c.keep(&c.id, key, at)
	case "created":
		return c.keep(&c.created, key, at)
	case "model":
		return c.keep(&c.model, key, at)
	case "system_fingerprint":
		return c.keep(&c.fingerprint, key, at)
	case "object":
		return c.keep(&c.object, key, at)
	case "usage":
		return c.keep(&c.usage, key, at)
	case "error":
		return c.keep(&c.err, key, at)
	case "obfuscation":
		return c.keep(&c.obfuscation, key, at)
	}
	return rawjson.SkipValue(c.b, at, 1)
}

func (c *chunk) oneChoice(at int) int {
	c.count++
	if c.count > 1 || c.b[at] != '{' {
		return rawjson.SkipValue(c.b, at, 2)
	}
	c.choice = rawjson.Span{Start: at, End: scanObject(c.b, at, c.inChoice)}
	return c.choice.End
}

func (c *chunk) inChoice(name []byte, key rawjson.Span, at int) int {
	switch string(name) {
	case "index":
		return rawjson.SkipValue(c.b, at, 3)
	case "finish_reason":
		return c.keep(&c.finish, key, at)
	case "logprobs":
		return c.keep(&c.logprobs, key, at)
	case "delta":
		if at >= len(c.b) || c.b[at] != '{' {
			return rawjson.SkipValue(c.b, at, 3)
		}
		if c.delta.Val.Found() {
			return -1
		}
		c.delta.Key, c.delta.Val = key, rawjson.Span{Start: at, End: scanObject(c.b, at, c.inDelta)}
		return c.delta.Val.End
	}
	end := rawjson.SkipValue(c.b, at, 3)
	c.other = c.other || end >= 0 && !blank(c.b[at:end])
	return end
}

func (c *chunk) inDelta(name []byte, key rawjson.Span, at int) int {
	switch string(name) {
	case "role":
		return c.keep(&c.role, key, at)
	case "tool_calls":
		if at < len(c.b) && c.b[at] == '[' {
			if c.toolCalls.Val.Found() {
				return -1
			}
			c.toolCalls.Key, c.toolCalls.Val = key, rawjson.Span{Start: at, End: scanArray(c.b, at, c.oneCall)}
			return c.toolCalls.Val.End
		}
	}
	end := rawjson.SkipValue(c.b, at, 4)
	if end >= 0 {
		c.fields = append(c.fields, rawjson.Member{Name: name, Key: key, Val: rawjson.Span{Start: at, End: end}})
	}
	return end
}

func (c *chunk) oneCall(at int) int {
	if c.b[at] != '{' {
		return -1
	}
	c.piece = callDelta{}
	end := scanObject(c.b, at, c.inCall)
	c.piece.at = rawjson.Span{Start: at, End: end}
	if len(c.calls) == cap(c.calls) {
		c.calls = slices.Grow(c.calls, len(c.calls)+1) // a large piece, of which a hostile chunk has many: append would copy it five times
	}
	c.calls = append(c.calls, c.piece)
	return end
}

func (c *chunk) inCall(name []byte, key rawjson.Span, at int) int {
	p := &c.piece
	if string(name) == "function" && at < len(c.b) && c.b[at] == '{' {
		return scanObject(c.b, at, c.inFunction)
	}
	end := rawjson.SkipValue(c.b, at, 5)
	switch string(name) {
	case "index":
		if p.index.Val.Found() {
			return -1
		}
		p.index = rawjson.Member{Key: key, Val: rawjson.Span{Start: at, End: end}}
	case "id":
		p.id = rawjson.Span{Start: at, End: end}
	case "type":
		p.kind = rawjson.Span{Start: at, End: end}
		p.custom = p.custom || end >= 0 && string(c.b[at:end]) == `"custom"`
	case "function":
	case "custom":
		p.custom = p.custom || end >= 0 && !rawjson.IsNull(c.b[at:end])
	default:
		p.more = true
	}
	return end
}

func (c *chunk) inFunction(name []byte, _ rawjson.Span, at int) int {
	p := &c.piece
	end := rawjson.SkipValue(c.b, at, 6)
	switch string(name) {
	case "name":
		p.name = rawjson.Span{Start: at, End: end}
	case "arguments":
		p.args = rawjson.Span{Start: at, End: end}
	default:
		p.more = true
	}
	return end
}

// says reports whether a member is there and not null.
func (c *chunk) says(m rawjson.Member) bool { return m.Val.Found() && !rawjson.IsNull(m.Val.Of(c.b)) }

// blank reports whether a value holds nothing: null, "", [], {}.
func blank(raw []byte) bool {
	switch {
	case len(raw) < 2:
		return false
	case raw[0] == '"':
		return len(raw) == 2
	case raw[0] == '[' || raw[0] == '{':
		return rawjson.SkipSpace(raw, 1) == len(raw)-1
	}
	return rawjson.IsNull(raw)
}

// scanObject reads the object that begins at b[i]. It hands each the name of every member, where that stands, and where the value
// begins, and is told where the value ends. It returns where the object ends; -1 if there is none or each returned -1.
func scanObject(b []byte, i int, each func(name []byte, key rawjson.Span, at int) int) int {
	if i >= len(b) || b[i] != '{' {
		return -1
	}
	i = rawjson.SkipSpace(b, i+1)
	if i < len(b) && b[i] == '}' {
		return i + 1
	}
	for {
		key := rawjson.Span{Start: i, End: rawjson.SkipString(b, i)}
		if key.End < 0 {
			return -1
		}
		if i = rawjson.SkipSpace(b, key.End); i >= len(b) || b[i] != ':' {
			return -1
		}
		if i = each(nameOf(key.Of(b)), key, rawjson.SkipSpace(b, i+1)); i < 0 {
			return -1
		}
		if i = rawjson.SkipSpace(b, i); i >= len(b) {
			return -1
		}
		switch b[i] {
		case '}':
			return i + 1
		case ',':
			i = rawjson.SkipSpace(b, i+1)
		default:
			return -1
		}
	}
}

// scanArray reads the array that begins at b[i], as scanObject does an object.
func scanArray(b []byte, i int, each func(at int) int) int {
	i = rawjson.SkipSpace(b, i+1)
	if i < len(b) && b[i] == ']' {
		return i + 1
	}
	for {
		if i >= len(b) {
			return -1
		}
		if i = each(i); i < 0 {
			return -1
		}
		if i = rawjson.SkipSpace(b, i); i >= len(b) {
			return -1
		}
		switch b[i] {
		case ']':
			return i + 1
		case ',':
			i = rawjson.SkipSpace(b, i+1)
		default:
			return -1
		}
	}
}

// nameOf is the name that a quoted one means.
func nameOf(quoted []byte) []byte {
	if slices.Contains(quoted, '\\') {
		return []byte(rawjson.Unquote(quoted))
	}
	return quoted[1 : len(quoted)-1]
}
