package messages

import (
	"bytes"
	"slices"

	"github.com/keyturn/keyturn/internal/dialect/rawjson"
	"github.com/keyturn/keyturn/internal/dialect/turn"
)

// block is one block of a message's content. A streamed one is put together from the bytes of its deltas, so that it goes
// back to the provider as it came: the insides of JSON strings, one after the other, are the inside of a JSON string.
type block struct {
	at    int    // the provider's index
	shown int    // the client's; -1 if it is hidden
	raw   []byte // as it began, or whole
	open  bool   // more of it is to come
	whole bool   // it came in one piece

	kind, id, name string
	own            bool // a call of Keyturn's
	runs           bool // it is to be run
	tool           turn.Tool
	omitted        bool // a thought of a later turn that the client does not see

	// Of texts.
	more         []*block // texts that go on with this one, at seams
	gap          string   // what sets one of them apart from what was said before
	spoke, apart bool     // something was said; and it ends with a new line
	// unknown says that deltas came whose kind is not known. The block then goes on as it began with the deltas that are: the
	// provider takes it or says what is wrong. A call with such deltas is not run.
	unknown bool

	strings   [inputDelta][]byte // what deltas append, by their kind
	input     turn.Arguments     // what deltas of the input append
	argues    bool               // one came, if only an empty one
	citations []byte             // joined by commas
	replaced  [2][]byte          // what a compaction's delta sets
	done      []byte             // the block put together
}

// deltaKind is what a delta appends to ("Streaming messages" in Anthropic's API reference).
type deltaKind uint8

const (
	textDelta deltaKind = iota
	thinkingDelta
	signatureDelta
	inputDelta
	deltaKinds // how many there are
)

// member is the name of the block's member that the delta appends to.
func (k deltaKind) member() string {
	switch k {
	case thinkingDelta:
		return "thinking"
	case signatureDelta:
		return "signature"
	case inputDelta:
		return "input"
	case textDelta, deltaKinds:
	}
	return "text"
}

var compactionMembers = [2]string{"content", "encrypted_content"}

// newBlock reads a block as it begins, or as it stands in a whole answer. It keeps raw.
func (s *session) newBlock(at int, raw []byte) *block {
	b := &block{at: at, shown: -1, raw: slices.Clip(raw)}
	b.kind, b.id, b.name = rawjson.Text(b.raw, rawjson.Whole(b.raw), "type"), rawjson.Text(b.raw, rawjson.Whole(b.raw), "id"), rawjson.Text(b.raw, rawjson.Whole(b.raw), "name")
	if b.kind == "tool_use" && s.names.Owner(b.name) == turn.Keyturn {
		b.own = true
		b.tool, _ = s.names.Own(b.name)
		s.seam.open = true
	}
	s.turn.blocks = append(s.turn.blocks, b)
	if s.turn.byIndex == nil {
		s.turn.byIndex = map[int]*block{}
	}
	s.turn.byIndex[at] = b
	return b
}

// seen reports whether the client sees the block.
func (b *block) seen() bool { return !b.own && !b.omitted }

// find is the last block that began with an index; nil if there is none.
func (t *currentTurn) find(at int) *block { return t.byIndex[at] }

// add takes what a delta of a kind brings: a JSON string.
func (b *block) add(kind deltaKind, value []byte) {
	if kind == inputDelta {
		b.argues = true
		b.input.Add(value[1 : len(value)-1])
		return
	}
	b.strings[kind] = append(b.strings[kind], value[1:len(value)-1]...)
}

// other takes a delta that is rarer.
func (b *block) other(data []byte, delta rawjson.Span) {
	switch rawjson.Text(data, delta, "type") {
	case "text_delta":
		b.addMember(textDelta, data, delta, "text")
	case "thinking_delta":
		b.addMember(thinkingDelta, data, delta, "thinking")
	case "signature_delta":
		b.addMember(signatureDelta, data, delta, "signature")
	case "input_json_delta":
		b.addMember(inputDelta, data, delta, "partial_json")
	case "citations_delta":
		if v, ok := rawjson.Lookup(data, delta, "citation"); ok {
			b.citations = append(rawjson.Separate(b.citations), v.Of(data)...)
		}
	case "compaction_delta":
		for i, name := range compactionMembers {
			if v, ok := rawjson.Lookup(data, delta, name); ok {
				b.replaced[i] = slices.Clone(v.Of(data))
			}
		}
	default:
		b.unknown = true
	}
}

func (b *block) addMember(kind deltaKind, data []byte, delta rawjson.Span, name string) {
	if v, ok := rawjson.Lookup(data, delta, name); ok && data[v.Start] == '"' {
		b.add(kind, v.Of(data))
	}
}

// json is the block put together, as the provider takes it back. The block must be complete.
func (b *block) json() []byte {
	if b.done != nil {
		return b.done
	}
	var e rawjson.Edits
	at := rawjson.Whole(b.raw)
	for kind := range inputDelta {
		if len(b.strings[kind]) == 0 {
			continue
		}
		var first []byte
		if v, ok := rawjson.Lookup(b.raw, at, kind.member()); ok && b.raw[v.Start] == '"' {
			first = b.raw[v.Start+1 : v.End-1]
		}
		e.Set(b.raw, at, kind.member(), slices.Concat([]byte{'"'}, first, b.strings[kind], []byte{'"'}))
	}
	if input := b.arguments(); b.input.Len() > 0 || b.kind == "tool_use" && !turn.IsObject(input) {
		e.Set(b.raw, at, inputDelta.member(), turn.Object(input))
	}
	for i, v := range b.replaced {
		if v != nil {
			e.Set(b.raw, at, compactionMembers[i], v)
		}
	}
	if b.citations != nil {
		if v, ok := rawjson.Lookup(b.raw, at, "citations"); ok && b.raw[v.Start] == '[' {
			e.Push(b.raw, v, b.citations)
		} else {
			e.Set(b.raw, at, "citations", slices.Concat([]byte{'['}, b.citations, []byte{']'}))
		}
	}
	if b.done = b.raw; !e.None() {
		b.done = e.Apply(nil, b.raw)
	}
	return b.done
}

// arguments are a call's, as the model wrote them; empty if none came: what a block begins with says nothing of them while it is {}, and is
// followed by a delta at the least.
func (b *block) arguments() []byte {
	if written := b.input.Text(); len(bytes.TrimSpace(written)) > 0 {
		return written
	}
	v, ok := rawjson.Lookup(b.raw, rawjson.Whole(b.raw), "input")
	if !ok || rawjson.IsNull(v.Of(b.raw)) || !b.whole && !b.argues && rawjson.SkipSpace(b.raw, v.Start+1) == v.End-1 {
		return nil
	}
	return v.Of(b.raw)
}

// blank reports whether the block is a text without a letter, which the API does not take back.
func (b *block) blank() bool {
	return b.kind == "text" && len(bytes.TrimSpace([]byte(rawjson.Text(b.json(), rawjson.Whole(b.json()), "text")))) == 0
}
