package messages

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"hash"
	"slices"
	"strconv"

	"github.com/keyturn/keyturn/internal/dialect/rawjson"
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
	size   int    // bytes of texts and words so far
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
func (d *identity) content(role string, b []byte, at rawjson.Span) {
	if role != d.role {
		d.word(role)
		d.size -= len(role) // a part of a conversation has it once more
		d.role = role
	}
	if at.Found() && b[at.Start] == '"' {
		d.text(at.Of(b))
		return
	}
	for v := range rawjson.Elements(b, at) {
		d.block(role, b, v)
	}
}

// block tells of what makes out a block. It reads the block's members once.
func (d *identity) block(role string, b []byte, at rawjson.Span) {
	var kind, said rawjson.Span
	var ids [len(identifying)]rawjson.Span
	for m := range rawjson.Members(b, at) {
		switch string(m.Name) {
		case "type":
			kind = m.Val
		case "text":
			said = m.Val
		}
		for i, name := range identifying {
			if string(m.Name) == name {
				ids[i] = m.Val
			}
		}
	}
	switch kind := kind.Of(b); {
	case string(kind) == `"text"`:
		d.text(said.Of(b))
	case isThinking(rawjson.Unquote(kind)):
	case role == "assistant", string(kind) == `"tool_result"`: // known by ids, which are the provider's
		d.word(rawjson.Unquote(kind))
		for i, id := range ids {
			if s := rawjson.Unquote(id.Of(b)); s != "" {
				d.word(identifying[i])
				d.word(s)
			}
		}
	default:
		d.value(b, at, 0)
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
		raw = []byte(rawjson.Unquote(raw))
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
		d.size++
		if d.buffer = append(d.buffer, c); len(d.buffer) >= maxBuffer {
			d.flush()
		}
	}
}

// word tells of something short. White space sets it off from texts, which have none.
func (d *identity) word(s string) {
	d.inText = false
	d.size += len(s)
	d.buffer = append(strconv.AppendInt(append(d.buffer, '\n'), int64(len(s)), 10), '\n')
	for ; len(s) > maxBuffer; s = s[maxBuffer:] {
		d.buffer = append(d.buffer, s[:maxBuffer]...)
		d.flush()
	}
	if d.buffer = append(d.buffer, s...); len(d.buffer) >= maxBuffer {
		d.flush()
	}
}

// Bounds of values whose members are put in order. The API's have some members, three levels deep.
const (
	maxMembers = 64
	maxLevels  = 8
)

// value tells of any JSON value. One that is larger or deeper than values are is told of as it stands.
func (d *identity) value(b []byte, at rawjson.Span, level int) {
	if level == maxLevels {
		d.word(string(at.Of(b)))
		return
	}
	switch b[at.Start] {
	case '{':
		var all []rawjson.Member
		for m := range rawjson.Members(b, at) {
			if string(m.Name) == "cache_control" || rawjson.IsNull(m.Val.Of(b)) {
				continue
			}
			if all = append(all, m); len(all) > maxMembers {
				d.word(string(at.Of(b)))
				return
			}
		}
		slices.SortStableFunc(all, func(x, y rawjson.Member) int { return cmp.Compare(string(x.Name), string(y.Name)) })
		d.word("{" + strconv.Itoa(len(all)))
		for _, m := range all {
			d.word(string(m.Name))
			d.value(b, m.Val, level+1)
		}
	case '[':
		for v := range rawjson.Elements(b, at) {
			d.word(",")
			d.value(b, v, level+1)
		}
		d.word("]")
	case '"':
		d.word(rawjson.Unquote(at.Of(b)))
		d.flush()
	default:
		d.word(string(at.Of(b)))
	}
}

// thinkingOf is what in a list of blocks the provider binds to the conversation: the signatures of thinking, in order. It is empty if
// there is none.
func thinkingOf(b []byte, content rawjson.Span) string {
	var all []byte
	for v := range rawjson.Elements(b, content) {
		switch rawjson.Text(b, v, "type") {
		case "thinking":
			all = append(rawjson.AppendString(all, rawjson.Text(b, v, "signature")), ',')
		case "redacted_thinking":
			all = append(rawjson.AppendString(all, rawjson.Text(b, v, "data")), ';')
		}
	}
	return string(all)
}
