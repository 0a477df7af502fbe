package chat

import (
	"bytes"
	"iter"
	"slices"
	"strings"

	"github.com/keyturn/keyturn/internal/dialect/openai"
	"github.com/keyturn/keyturn/internal/dialect/rawjson"
	"github.com/keyturn/keyturn/internal/dialect/recall"
	"github.com/keyturn/keyturn/internal/dialect/turn"
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

// message is where the members of a message stand.
type message struct {
	at                             rawjson.Span
	role, content, calls, id, name rawjson.Span
}

func readMessage(b []byte, at rawjson.Span) message {
	m := message{at: at}
	for f := range rawjson.Members(b, at) {
		if rawjson.IsNull(f.Val.Of(b)) {
			continue
		}
		switch string(f.Name) {
		case "role":
			m.role = f.Val
		case "content":
			m.content = f.Val
		case "tool_calls":
			m.calls = f.Val
		case "tool_call_id":
			m.id = f.Val
		case "name":
			m.name = f.Val
		}
	}
	return m
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
func (s *session) recall(e *rawjson.Edits, b []byte, f *requestFields) {
	if s.opts.Memory == nil {
		return
	}
	h := recall.NewHasher()
	h.Add(f.user.Of(b))
	h.Add(f.safetyIdentifier.Of(b))
	s.chain = h.Digest()
	back := map[string]bool{} // a message that stands twice gets its turns once, or a few bytes would cost any number of results
	messages := 0
	for at := range rawjson.Elements(b, f.messages) {
		if messages++; s.opts.Left(messages) {
			return
		}
		m := readMessage(b, at)
		if rawjson.Unquote(m.role.Of(b)) == "assistant" {
			ids := func(yield func(string) bool) {
				for call := range rawjson.Elements(b, m.calls) {
					if !yield(rawjson.Text(b, call, "id")) {
						return
					}
				}
			}
			key, byText := digestKey(h, s.chain, ids, func() string { return openai.ContentText(b, m.content) })
			if kept, ok := s.opts.Memory.Get(key); ok && !back[key] && rawjson.Valid(kept) && rawjson.Once(b, at, "role", "content", "tool_calls") {
				back[key] = true
				restore(e, b, &m, kept, byText)
			}
		}
		s.chain = nextDigest(h, s.chain, b, &m)
	}
}

// restore notes what makes of an assistant message the ones that the provider has seen. ByText: it was found by its text.
func restore(e *rawjson.Edits, b []byte, m *message, kept []byte, byText bool) {
	inside := func(name string) []byte {
		v, ok := rawjson.Lookup(kept, rawjson.Whole(kept), name)
		if !ok || v.End-v.Start < 2 {
			return nil
		}
		return bytes.TrimSpace(kept[v.Start+1 : v.End-1])
	}
	before, tools := inside("before"), inside("tools")
	last, ok := rawjson.Lookup(kept, rawjson.Whole(kept), "message")
	if !ok && len(before) > 0 {
		e.Replace(m.at, before)
		return
	}
	if len(before) > 0 {
		e.Insert(m.at.Start, append(bytes.Clone(before), ','))
		restoreFields(e, b, m, kept, last, byText)
	}
	if calls, ok := rawjson.Lookup(kept, rawjson.Whole(kept), "calls"); ok {
		e.Replace(m.calls, mixedCalls(b, m.calls, kept, calls))
	}
	if len(tools) > 0 {
		e.Insert(m.at.End, append([]byte{','}, tools...))
	}
}

// mixedCalls is an array of the client's calls with Keyturn's in their places.
func mixedCalls(b []byte, theirs rawjson.Span, kept []byte, calls rawjson.Span) []byte {
	next, stop := iter.Pull(rawjson.Elements(b, theirs))
	defer stop()
	var all []byte
	add := func(raw []byte) { all = append(rawjson.Separate(all), raw...) }
	for at := range rawjson.Elements(kept, calls) {
		if !rawjson.IsNull(at.Of(kept)) {
			add(at.Of(kept))
		} else if at, ok := next(); ok {
			add(at.Of(b))
		}
	}
	for at, ok := next(); ok; at, ok = next() {
		add(at.Of(b))
	}
	return append(append([]byte{'['}, all...), ']')
}

// restoreFields takes out of the echoed message what earlier turns said, which has messages of its own now.
func restoreFields(e *rawjson.Edits, b []byte, m *message, kept []byte, last rawjson.Span, byText bool) {
	earlier := map[string]bool{}
	var said strings.Builder
	list, _ := rawjson.Lookup(kept, rawjson.Whole(kept), "before")
	for at := range rawjson.Elements(kept, list) {
		if rawjson.Text(kept, at, "role") != "assistant" {
			continue
		}
		for f := range rawjson.Members(kept, at) {
			earlier[string(f.Name)] = earlier[string(f.Name)] || !blank(f.Val.Of(kept))
			if string(f.Name) == "content" {
				said.WriteString(openai.ContentText(kept, f.Val))
			}
		}
	}
	now := map[string]rawjson.Span{}
	for f := range rawjson.Members(kept, last) {
		now[string(f.Name)] = f.Val
	}
	for f := range rawjson.Members(b, m.at) {
		name := string(f.Name)
		if !earlier[name] || name == "role" || name == "tool_calls" || name == "name" {
			continue
		}
		earlier[name] = false // of a member that stands twice the first is replaced
		v, ok := now[name]
		switch {
		case name == "content":
			text := openai.ContentText(kept, v)
			if byText || squeezed(openai.ContentText(b, f.Val)) == squeezed(said.String()+text) {
				restoreContent(e, b, f.Val, rawjson.AppendString(nil, text))
			}
		case ok:
			e.Replace(f.Val, bytes.Clone(v.Of(kept)))
		default:
			e.Remove(b, m.at, f)
		}
	}
}

// squeezed is a text without its white space.
func squeezed(text string) string { return strings.Join(strings.Fields(text), "") }

// restoreContent replaces a message's text, in the form that the client has given it.
func restoreContent(e *rawjson.Edits, b []byte, content rawjson.Span, with []byte) {
	parts := 0
	at := rawjson.Span{}
	for part := range rawjson.Elements(b, content) {
		parts++
		at, _ = rawjson.Lookup(b, part, "text")
	}
	if parts == 1 && at.Found() && len(with) > len(`""`) {
		e.Replace(at, with)
		return
	}
	e.Replace(content, with)
}

// remember keeps what the client's next request needs of this response. It is called before the client has the end of it.
func (s *session) remember() {
	t := &s.turn
	if s.opts.Memory == nil || len(s.hidden) == 0 && !t.mixed || !t.ended() {
		return
	}
	var r recall.Record
	r.AddList("before", s.hidden)
	var ids []string
	var calls []byte
	for _, c := range t.calls {
		if c.owner == turn.Client {
			ids = append(ids, c.id)
			calls = append(rawjson.Separate(calls), "null"...)
		} else if t.mixed {
			calls = c.appendTo(rawjson.Separate(calls))
		}
	}
	if t.mixed {
		r.AddList("calls", calls)
		r.AddList("tools", s.toolMessages())
	}
	if t.mixed || len(t.run) == 0 {
		fields := []byte{'{'}
		if len(t.fields) > 0 {
			fields = append(fields, appendFields(nil, t.fields)[1:]...)
		}
		r.Add("message", append(fields, '}'))
	}
	key, _ := digestKey(recall.NewHasher(), s.chain, slices.Values(ids), func() string {
		var said []byte
		if f := fieldOf(concat(concat(nil, s.said), t.fields), "content"); f != nil {
			v := f.appendTo(nil)
			said = append(said, openai.ContentText(v, rawjson.Whole(v))...)
		}
		return string(said)
	})
	s.opts.Memory.Put(key, r)
}

// nextDigest is the digest of a conversation with one message more. Left out is what clients are known to change: the order of members and
// those that are null, whether content is a string or one text part, white space in the model's text, the spelling of arguments.
func nextDigest(h recall.Hasher, before recall.Digest, b []byte, m *message) recall.Digest {
	h.Reset()
	h.Add(before[:])
	role := rawjson.Unquote(m.role.Of(b))
	h.Add([]byte(role))
	switch {
	case role == "assistant":
		h.Squeezed(h.Squeeze(openai.ContentText(b, m.content)))
		for call := range rawjson.Elements(b, m.calls) {
			h.Add([]byte(rawjson.Text(b, call, "id")))
			h.Add([]byte(rawjson.Text(b, call, "function", "name")))
		}
		return h.Digest()
	case m.content.Found() && b[m.content.Start] == '[':
		for part := range rawjson.Elements(b, m.content) {
			if v, ok := rawjson.Lookup(b, part, "text"); ok && rawjson.Text(b, part, "type") == "text" {
				h.Add([]byte(rawjson.Unquote(v.Of(b))))
			} else {
				h.Add(part.Of(b))
			}
		}
	default:
		h.Add([]byte(rawjson.Unquote(m.content.Of(b))))
	}
	h.Add([]byte(rawjson.Unquote(m.id.Of(b))))
	h.Add([]byte(rawjson.Unquote(m.name.Of(b))))
	return h.Digest()
}

// digestKey is the key of what is remembered of an assistant message: made of its calls' ids or, where it has none, of its text.
func digestKey(h recall.Hasher, before recall.Digest, ids iter.Seq[string], text func() string) (key string, byText bool) {
	h.Reset()
	some, unique := false, true
	for id := range ids {
		some, unique = true, unique && uniqueID(id)
	}
	if !some || !unique {
		h.Add(before[:])
	}
	if !some {
		h.Squeezed(h.Squeeze(text()))
	}
	for id := range ids {
		h.Add([]byte("call"))
		h.Add([]byte(id))
	}
	d := h.Digest()
	return "chat/" + d.String(), !some
}
