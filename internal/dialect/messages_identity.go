package dialect

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"hash"
	"slices"
	"strconv"
)

// identity names a conversation, as far as it was told of it, by a hash that stays the same when a client sends the conversation
// back in other bytes than it got: with other escapes and members in another order; with cache_control elsewhere; with a text for a
// list of one text; with texts joined, parted or trimmed; with members left out or set to null that only answers have; with thinking
// left out, which is compared apart (thinkingOf).
type identity struct {
	hash   hash.Hash
	role   string
	inText bool
	buffer []byte // of text, until it is hashed
}

func newIdentity() *identity { return &identity{hash: sha256.New()} }

// sum is the name of what was told so far.
func (d *identity) sum() string {
	d.flush()
	var b [sha256.Size]byte
	return nameOfHash(d.hash.Sum(b[:0]))
}

// nameOfHash is a hash as a part of a key. Half of it is enough that no two are the same by chance.
func nameOfHash(sum []byte) string { return base64.RawURLEncoding.EncodeToString(sum[:16]) }

func (d *identity) flush() {
	d.hash.Write(d.buffer)
	d.buffer = d.buffer[:0]
}

// content tells of a role's text, or list of blocks. What one role says in several messages is as if it were one.
func (d *identity) content(role string, b []byte, at span) {
	if role != d.role {
		d.word(role)
		d.role = role
	}
	if at.found() && b[at.start] == '"' {
		d.text(at.of(b))
		return
	}
	for v := range elements(b, at) {
		d.block(role, b, v)
	}
}

// block tells of what makes out a block. It reads the block's members once.
func (d *identity) block(role string, b []byte, at span) {
	var kind, said span
	var ids [len(identifying)]span
	for m := range members(b, at) {
		switch string(m.name) {
		case "type":
			kind = m.val
		case "text":
			said = m.val
		}
		for i, name := range identifying {
			if string(m.name) == name {
				ids[i] = m.val
			}
		}
	}
	switch kind := kind.of(b); {
	case string(kind) == `"text"`:
		d.text(said.of(b))
	case isThinking(unquote(kind)):
	case role == "assistant", string(kind) == `"tool_result"`: // known by ids, which are the provider's
		d.word(unquote(kind))
		for i, id := range ids {
			if s := unquote(id.of(b)); s != "" {
				d.word(identifying[i])
				d.word(s)
			}
		}
	default:
		d.value(b, at)
	}
}

// identifying are the members by which a block is known that is not a text.
var identifying = [...]string{"id", "tool_use_id", "name"}

func isThinking(kind string) bool { return kind == "thinking" || kind == "redacted_thinking" }

// maxBuffer is how much text is gathered before it is hashed.
const maxBuffer = 4096

// text tells of a JSON string, without its white space.
func (d *identity) text(raw []byte) {
	if bytes.IndexByte(raw, '\\') >= 0 {
		raw = []byte(unquote(raw))
	} else if len(raw) > 1 {
		raw = raw[1 : len(raw)-1]
	}
	d.buffer = slices.Grow(d.buffer, min(len(raw), maxBuffer)+16)
	for _, c := range raw {
		if c == ' ' || c == '\n' || c == '\r' || c == '\t' {
			continue
		}
		if !d.inText {
			d.inText = true
			d.buffer = append(d.buffer, "\ntext\n"...)
		}
		if d.buffer = append(d.buffer, c); len(d.buffer) >= maxBuffer {
			d.flush()
		}
	}
}

// word tells of something short. White space sets it off from texts, which have none.
func (d *identity) word(s string) {
	d.inText = false
	d.buffer = append(strconv.AppendInt(append(d.buffer, '\n'), int64(len(s)), 10), '\n')
	d.buffer = append(d.buffer, s...)
}

// value tells of any JSON value.
func (d *identity) value(b []byte, at span) {
	switch b[at.start] {
	case '{':
		all := slices.DeleteFunc(slices.Collect(members(b, at)), func(m member) bool {
			return string(m.name) == "cache_control" || isNull(m.val.of(b))
		})
		slices.SortStableFunc(all, func(x, y member) int { return cmp.Compare(string(x.name), string(y.name)) })
		d.word("{" + strconv.Itoa(len(all)))
		for _, m := range all {
			d.word(string(m.name))
			d.value(b, m.val)
		}
	case '[':
		for v := range elements(b, at) {
			d.word(",")
			d.value(b, v)
		}
		d.word("]")
	case '"':
		d.word(unquote(at.of(b)))
		d.flush()
	default:
		d.word(string(at.of(b)))
	}
}

// thinkingOf is what in a list of blocks the provider binds to the conversation: the signatures of thinking, in order. It is empty if
// there is none.
func thinkingOf(b []byte, content span) string {
	var all []byte
	for v := range elements(b, content) {
		switch text(b, v, "type") {
		case "thinking":
			all = append(appendString(all, text(b, v, "signature")), ',')
		case "redacted_thinking":
			all = append(appendString(all, text(b, v, "data")), ';')
		}
	}
	return string(all)
}
