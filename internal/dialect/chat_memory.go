package dialect

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"hash"
	"strings"
)

// Turns that the client does not see are remembered for its next request. There it echoes an assistant message that joins what all
// turns said; recall puts in its place the messages that the provider has seen. What is remembered is found by the client's own calls
// in the message, or by its text; the text, and ids that are not surely unique, only after the same conversation. It is an object:
//
//	before:  messages that stood before the last turn's
//	calls:   the last turn's calls of Keyturn's, in their places, and null in those of the client's
//	tools:   the messages with their results
//	message: the members of the last turn's message; absent where all of it is in before
//
// What was forgotten is left out: the client's message alone is valid too.

// chatDigest stands for a conversation up to a message, as far as clients send it again unchanged.
type chatDigest [sha256.Size]byte

// chatMessage is where the members of a message stand.
type chatMessage struct {
	at                             span
	role, content, calls, id, name span
}

func readMessage(b []byte, at span) chatMessage {
	m := chatMessage{at: at}
	for f := range members(b, at) {
		if isNull(f.val.of(b)) {
			continue
		}
		switch string(f.name) {
		case "role":
			m.role = f.val
		case "content":
			m.content = f.val
		case "tool_calls":
			m.calls = f.val
		case "tool_call_id":
			m.id = f.val
		case "name":
			m.name = f.val
		}
	}
	return m
}

// contentText is the text of a message's content, be it a string or parts.
func contentText(b []byte, content span) string {
	if !content.found() || b[content.start] != '[' {
		return unquote(content.of(b))
	}
	var all strings.Builder
	for part := range elements(b, content) {
		all.WriteString(text(b, part, "text"))
	}
	return all.String()
}

// chatHasher makes digests.
type chatHasher struct{ hash.Hash }

// write adds a piece so that no two rows of pieces look alike.
func (h chatHasher) write(piece []byte) {
	var size [8]byte
	binary.LittleEndian.PutUint64(size[:], uint64(len(piece)))
	_, _ = h.Write(size[:]) // a hash never fails
	_, _ = h.Write(piece)
}

func (h chatHasher) sum() (d chatDigest) {
	h.Sum(d[:0])
	return d
}

// next is the digest of a conversation with one message more. Left out is what clients are known to change: the order of members and
// those that are null, whether content is a string or one text part, space around the model's text, the spelling of arguments.
func (h chatHasher) next(before chatDigest, b []byte, m *chatMessage) chatDigest {
	h.Reset()
	h.write(before[:])
	role := unquote(m.role.of(b))
	h.write([]byte(role))
	switch {
	case role == "assistant":
		h.write([]byte(strings.TrimSpace(contentText(b, m.content))))
		for call := range elements(b, m.calls) {
			h.write([]byte(text(b, call, "id")))
			h.write([]byte(text(b, call, "function", "name")))
		}
		return h.sum()
	case m.content.found() && b[m.content.start] == '[':
		for part := range elements(b, m.content) {
			if v, ok := lookup(b, part, "text"); ok && text(b, part, "type") == "text" {
				h.write([]byte(unquote(v.of(b))))
			} else {
				h.write(part.of(b))
			}
		}
	default:
		h.write([]byte(unquote(m.content.of(b))))
	}
	h.write([]byte(unquote(m.id.of(b))))
	h.write([]byte(unquote(m.name.of(b))))
	return h.sum()
}

// key is under what is remembered what belongs to an assistant message: its calls' ids, or without any its text.
func (h chatHasher) key(before chatDigest, ids []string, text string) string {
	h.Reset()
	unique := len(ids) > 0
	for _, id := range ids {
		unique = unique && uniqueID(id)
	}
	if !unique {
		h.write(before[:])
	}
	if len(ids) == 0 {
		h.write([]byte(strings.TrimSpace(text)))
	}
	for _, id := range ids {
		h.write([]byte("call"))
		h.write([]byte(id))
	}
	d := h.sum()
	return "chat/" + base64.RawURLEncoding.EncodeToString(d[:])
}

// uniqueID reports whether an id looks drawn at random, such as OpenAI's call_… with 24 letters and digits: of others, such as
// functions.get_weather:0, every conversation has the same.
func uniqueID(id string) bool {
	run, digits := 0, 0
	for i := len(id) - 1; i >= 0; i-- {
		switch c := id[i]; {
		case '0' <= c && c <= '9':
			run, digits = run+1, digits+1
		case 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z':
			run++
		case c == '-':
		default:
			return run >= 16 && digits > 0
		}
	}
	return run >= 16 && digits > 0
}

// recall puts what is remembered of earlier responses back into the conversation, and takes its digest.
func (s *chat) recall(e *edits, b []byte, f *chatFields) {
	if s.opts.Memory == nil {
		return
	}
	h := chatHasher{sha256.New()}
	h.write(f.user.of(b))
	h.write(f.safetyIdentifier.of(b))
	s.chain = h.sum()
	for at := range elements(b, f.messages) {
		m := readMessage(b, at)
		if unquote(m.role.of(b)) == "assistant" {
			var ids []string
			for call := range elements(b, m.calls) {
				ids = append(ids, text(b, call, "id"))
			}
			if kept, ok := s.opts.Memory.Get(h.key(s.chain, ids, contentText(b, m.content))); ok && validJSON(kept) {
				restore(e, b, &m, kept, len(ids) == 0)
			}
		}
		s.chain = h.next(s.chain, b, &m)
	}
}

// restore notes what makes of an assistant message the ones that the provider has seen. ByText: it was found by its text.
func restore(e *edits, b []byte, m *chatMessage, kept []byte, byText bool) {
	inside := func(name string) []byte {
		v, ok := lookup(kept, whole(kept), name)
		if !ok || v.end-v.start < 2 {
			return nil
		}
		return bytes.TrimSpace(kept[v.start+1 : v.end-1])
	}
	before, tools := inside("before"), inside("tools")
	last, ok := lookup(kept, whole(kept), "message")
	if !ok && len(before) > 0 {
		e.replace(m.at, before)
		return
	}
	if len(before) > 0 {
		e.insert(m.at.start, append(bytes.Clone(before), ','))
		restoreFields(e, b, m, kept, last, byText)
	}
	if calls, ok := lookup(kept, whole(kept), "calls"); ok {
		e.replace(m.calls, mixedCalls(b, m.calls, kept, calls))
	}
	if len(tools) > 0 {
		e.insert(m.at.end, append([]byte{','}, tools...))
	}
}

// mixedCalls is an array of the client's calls with Keyturn's in their places.
func mixedCalls(b []byte, theirs span, kept []byte, calls span) []byte {
	var list [][]byte
	for at := range elements(b, theirs) {
		list = append(list, at.of(b))
	}
	var all []byte
	add := func(raw []byte) { all = append(join(all), raw...) }
	for at := range elements(kept, calls) {
		switch {
		case !isNull(at.of(kept)):
			add(at.of(kept))
		case len(list) > 0:
			add(list[0])
			list = list[1:]
		}
	}
	for _, raw := range list {
		add(raw)
	}
	return append(append([]byte{'['}, all...), ']')
}

// restoreFields takes out of the echoed message what earlier turns said, which has messages of its own now.
func restoreFields(e *edits, b []byte, m *chatMessage, kept []byte, last span, byText bool) {
	earlier, said := map[string]bool{}, ""
	list, _ := lookup(kept, whole(kept), "before")
	for at := range elements(kept, list) {
		if text(kept, at, "role") != "assistant" {
			continue
		}
		for f := range members(kept, at) {
			earlier[string(f.name)] = earlier[string(f.name)] || !blank(f.val.of(kept))
			if string(f.name) == "content" {
				said += contentText(kept, f.val)
			}
		}
	}
	for f := range members(b, m.at) {
		name := string(f.name)
		if !earlier[name] || name == "role" || name == "tool_calls" || name == "name" {
			continue
		}
		v, ok := lookup(kept, last, name)
		switch {
		case name == "content":
			now := contentText(kept, v)
			if byText || strings.TrimSpace(contentText(b, f.val)) == strings.TrimSpace(said+now) {
				restoreContent(e, b, f.val, appendString(nil, now))
			}
		case ok:
			e.replace(f.val, bytes.Clone(v.of(kept)))
		default:
			e.remove(b, m.at, f)
		}
	}
}

// restoreContent replaces a message's text, in the form that the client has given it.
func restoreContent(e *edits, b []byte, content span, with []byte) {
	parts := 0
	at := span{}
	for part := range elements(b, content) {
		parts++
		at, _ = lookup(b, part, "text")
	}
	if parts == 1 && at.found() && len(with) > len(`""`) {
		e.replace(at, with)
		return
	}
	e.replace(content, with)
}

// remember keeps what the client's next request needs of this response. It is called before the client has the end of it.
func (s *chat) remember() {
	t := &s.turn
	if s.opts.Memory == nil || len(s.hidden) == 0 && !t.mixed || !t.whole() {
		return
	}
	var r record
	r.addList("before", s.hidden)
	var ids []string
	var calls []byte
	for _, c := range t.calls {
		if c.owner == chatTheirs {
			ids = append(ids, c.id)
			calls = append(join(calls), "null"...)
		} else if t.mixed {
			calls = c.appendTo(join(calls))
		}
	}
	if t.mixed {
		r.addList("calls", calls)
		r.addList("tools", s.toolMessages())
	}
	if t.mixed || len(t.run) == 0 {
		fields := []byte{'{'}
		if len(t.fields) > 0 {
			fields = append(fields, appendFields(nil, t.fields)[1:]...)
		}
		r.add("message", append(fields, '}'))
	}
	var said []byte
	for _, list := range [...][]chatField{s.said, t.fields} {
		if f := fieldOf(list, "content"); f != nil {
			v := f.appendTo(nil)
			said = append(said, contentText(v, whole(v))...)
		}
	}
	s.opts.Memory.Put(chatHasher{sha256.New()}.key(s.chain, ids, string(said)), r)
}
