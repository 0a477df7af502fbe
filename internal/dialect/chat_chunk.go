package dialect

import "slices"

// chatChunk is where the members of a chunk stand that decide what becomes of it ("The chat completion chunk object" in OpenAI's
// API reference). A member that is absent is not found.
type chatChunk struct {
	b                               []byte
	id, created, model, fingerprint member
	object, usage, err, obfuscation member
	choices, choice                 span // the array, and the first choice in it
	count                           int  // number of choices
	delta, finish, logprobs         member
	other                           bool // the choice has something else that is not empty
	role, toolCalls                 member
	fields                          []member // of the delta: all but role and tool_calls
	calls                           []chatPiece
	piece                           chatPiece // the one being read
}

// chatPiece is one element of a delta's tool_calls.
type chatPiece struct {
	at       span
	index    member
	id, name span
	args     span
	kind     span
	custom   bool // a call of a custom tool: Keyturn has none
	more     bool // it has members beside those that OpenAI documents
	call     *chatCall
}

// read finds the members. It returns false for anything but one JSON object in which each of those stands once. It looks at every
// byte once.
func (c *chatChunk) read(b []byte) bool {
	*c = chatChunk{b: b, fields: c.fields[:0], calls: c.calls[:0]}
	end := scanObject(b, skipSpace(b, 0), c.top)
	return end >= 0 && skipSpace(b, end) == len(b)
}

// keep notes where a member stands. It returns the end of its value, or -1 if it has none or has been there before.
func (c *chatChunk) keep(m *member, key span, at int) int {
	end := skipValue(c.b, at, 1)
	if end < 0 || m.val.found() {
		return -1
	}
	m.key, m.val = key, span{at, end}
	return end
}

func (c *chatChunk) top(name []byte, key span, at int) int {
	switch string(name) {
	case "choices":
		if at >= len(c.b) || c.b[at] != '[' {
			return skipValue(c.b, at, 1)
		}
		if c.choices.found() {
			return -1
		}
		c.choices = span{at, scanArray(c.b, at, c.oneChoice)}
		return c.choices.end
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
	return skipValue(c.b, at, 1)
}

func (c *chatChunk) oneChoice(at int) int {
	c.count++
	if c.count > 1 || c.b[at] != '{' {
		return skipValue(c.b, at, 2)
	}
	c.choice = span{at, scanObject(c.b, at, c.inChoice)}
	return c.choice.end
}

func (c *chatChunk) inChoice(name []byte, key span, at int) int {
	switch string(name) {
	case "index":
		return skipValue(c.b, at, 3)
	case "finish_reason":
		return c.keep(&c.finish, key, at)
	case "logprobs":
		return c.keep(&c.logprobs, key, at)
	case "delta":
		if at >= len(c.b) || c.b[at] != '{' {
			return skipValue(c.b, at, 3)
		}
		if c.delta.val.found() {
			return -1
		}
		c.delta.key, c.delta.val = key, span{at, scanObject(c.b, at, c.inDelta)}
		return c.delta.val.end
	}
	end := skipValue(c.b, at, 3)
	c.other = c.other || end >= 0 && !blank(c.b[at:end])
	return end
}

func (c *chatChunk) inDelta(name []byte, key span, at int) int {
	switch string(name) {
	case "role":
		return c.keep(&c.role, key, at)
	case "tool_calls":
		if at < len(c.b) && c.b[at] == '[' {
			if c.toolCalls.val.found() {
				return -1
			}
			c.toolCalls.key, c.toolCalls.val = key, span{at, scanArray(c.b, at, c.oneCall)}
			return c.toolCalls.val.end
		}
	}
	end := skipValue(c.b, at, 4)
	if end >= 0 {
		c.fields = append(c.fields, member{name, key, span{at, end}})
	}
	return end
}

func (c *chatChunk) oneCall(at int) int {
	if c.b[at] != '{' {
		return -1
	}
	c.piece = chatPiece{}
	end := scanObject(c.b, at, c.inCall)
	c.piece.at = span{at, end}
	c.calls = append(c.calls, c.piece)
	return end
}

func (c *chatChunk) inCall(name []byte, key span, at int) int {
	p := &c.piece
	if string(name) == "function" && at < len(c.b) && c.b[at] == '{' {
		return scanObject(c.b, at, c.inFunction)
	}
	end := skipValue(c.b, at, 5)
	switch string(name) {
	case "index":
		if p.index.val.found() {
			return -1
		}
		p.index = member{key: key, val: span{at, end}}
	case "id":
		p.id = span{at, end}
	case "type":
		p.kind = span{at, end}
		p.custom = p.custom || end >= 0 && string(c.b[at:end]) == `"custom"`
	case "function":
	case "custom":
		p.custom = true
	default:
		p.more = true
	}
	return end
}

func (c *chatChunk) inFunction(name []byte, _ span, at int) int {
	p := &c.piece
	end := skipValue(c.b, at, 6)
	switch string(name) {
	case "name":
		p.name = span{at, end}
	case "arguments":
		p.args = span{at, end}
	default:
		p.more = true
	}
	return end
}

// says reports whether a member is there and not null.
func (c *chatChunk) says(m member) bool { return m.val.found() && !isNull(m.val.of(c.b)) }

// blank reports whether a value holds nothing: null, "", [], {}.
func blank(raw []byte) bool {
	switch {
	case len(raw) < 2:
		return false
	case raw[0] == '"':
		return len(raw) == 2
	case raw[0] == '[' || raw[0] == '{':
		return skipSpace(raw, 1) == len(raw)-1
	}
	return isNull(raw)
}

// scanObject reads the object that begins at b[i]. It hands each the name of every member, where that stands, and where the value
// begins, and is told where the value ends. It returns where the object ends; -1 if there is none or each returned -1.
func scanObject(b []byte, i int, each func(name []byte, key span, at int) int) int {
	if i >= len(b) || b[i] != '{' {
		return -1
	}
	i = skipSpace(b, i+1)
	if i < len(b) && b[i] == '}' {
		return i + 1
	}
	for {
		key := span{i, skipString(b, i)}
		if key.end < 0 {
			return -1
		}
		if i = skipSpace(b, key.end); i >= len(b) || b[i] != ':' {
			return -1
		}
		if i = each(nameOf(key.of(b)), key, skipSpace(b, i+1)); i < 0 {
			return -1
		}
		if i = skipSpace(b, i); i >= len(b) {
			return -1
		}
		switch b[i] {
		case '}':
			return i + 1
		case ',':
			i = skipSpace(b, i+1)
		default:
			return -1
		}
	}
}

// scanArray reads the array that begins at b[i], as scanObject does an object.
func scanArray(b []byte, i int, each func(at int) int) int {
	i = skipSpace(b, i+1)
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
		if i = skipSpace(b, i); i >= len(b) {
			return -1
		}
		switch b[i] {
		case ']':
			return i + 1
		case ',':
			i = skipSpace(b, i+1)
		default:
			return -1
		}
	}
}

// nameOf is the name that a quoted one means.
func nameOf(quoted []byte) []byte {
	if slices.Contains(quoted, '\\') {
		return []byte(unquote(quoted))
	}
	return quoted[1 : len(quoted)-1]
}
