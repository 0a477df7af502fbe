package responses

import (
	"slices"
	"strconv"

	"github.com/keyturn/keyturn/internal/dialect/openai"
	"github.com/keyturn/keyturn/internal/dialect/rawjson"
	"github.com/keyturn/keyturn/internal/dialect/recall"
)

// This file finds calls again for clients that replay what was said without the ids of items: by the text of a response and
// the ids of the client's calls in it, after the same conversation.

// saying names what a response says: its text without white space, which clients trim, join and split, and the ids of the client's calls.
type saying struct {
	h     recall.Hasher
	said  int // bytes
	calls []string
}

// sayAfter begins one; before stands for the conversation that it answers.
func sayAfter(before recall.Digest) saying {
	h := recall.NewHasher()
	h.Add(before[:])
	return saying{h: h}
}

func (s *saying) text(text string) { s.said += s.h.Squeeze(text) }

// key is under what is remembered what the response hid.
func (s *saying) key() string {
	s.h.Squeezed(s.said)
	slices.Sort(s.calls) // some clients list them as they end
	for _, id := range s.calls {
		s.h.Add([]byte(id))
	}
	d := s.h.Digest()
	return "responses/text/" + d.String()
}

// begun is the digest of a conversation before its first item. The instructions and the user belong to it: another's conversation may
// have the same words.
func (f *requestFields) begun(h recall.Hasher, b []byte) recall.Digest {
	for _, v := range []rawjson.Span{f.instructions, f.user, f.safetyIdentifier} {
		h.Add(v.Of(b))
	}
	return h.Digest()
}

// nextItem is the digest of a conversation with one item more, as the client has it. Left out is what clients are known to change:
// reasoning, the ids of items, white space in what the model said, whether a text stands alone or in a list.
func nextItem(h recall.Hasher, before recall.Digest, b []byte, i *inputItem) recall.Digest {
	if i.kind == "reasoning" {
		return before
	}
	h.Reset()
	h.Add(before[:])
	content, _ := rawjson.Lookup(b, i.at, "content")
	switch {
	case i.reference:
		h.Add([]byte(i.id))
	case i.isMessage() && i.role == "assistant":
		h.Add([]byte(i.role))
		h.Squeezed(h.Squeeze(openai.ContentText(b, content)))
	case i.isMessage() && content.Found() && b[content.Start] == '[':
		h.Add([]byte(i.role))
		for part := range rawjson.Elements(b, content) {
			if v, ok := rawjson.Lookup(b, part, "text"); ok {
				h.Add([]byte(rawjson.Unquote(v.Of(b))))
			} else {
				h.Add(part.Of(b))
			}
		}
	case i.isMessage():
		h.Add([]byte(i.role))
		h.Add([]byte(rawjson.Unquote(content.Of(b))))
	default:
		h.Add([]byte(i.kind))
		h.Add([]byte(i.callID))
		if output, ok := rawjson.Lookup(b, i.at, "output"); ok {
			h.Add(output.Of(b))
		}
	}
	return h.Digest()
}

// byText finds what else was hidden, and takes the conversation's digest.
func (s *session) byText(r *returning, b []byte, f *requestFields, items []inputItem) {
	h := recall.NewHasher()
	s.chain = f.begun(h, b)
	if f.input.Found() && b[f.input.Start] == '"' {
		message := userMessage(f.input.Of(b))
		s.chain = nextItem(h, s.chain, message, &inputItem{at: rawjson.Whole(message), role: "user"})
	}
	for i := 0; i < len(items); i++ {
		run := items[i:]
		if n := slices.IndexFunc(run, func(i inputItem) bool { return !i.isModels() }); n >= 0 {
			run = run[:n]
		}
		s.runByText(r, b, run)
		for k := range run {
			s.chain = nextItem(h, s.chain, b, &run[k])
		}
		if i += len(run); i < len(items) {
			s.chain = nextItem(h, s.chain, b, &items[i])
		}
	}
}

// runByText finds it for the items of one response.
func (s *session) runByText(r *returning, b []byte, run []inputItem) {
	said, reasons := sayAfter(s.chain), false
	ends := make([]int, len(run)) // how much was said up to the end of an item
	for i := range run {
		item := &run[i]
		switch {
		case item.isMessage():
			content, _ := rawjson.Lookup(b, item.at, "content")
			said.text(openai.ContentText(b, content))
		case item.isCall():
			said.calls = append(said.calls, item.callID)
		case item.kind == "reasoning", item.reference:
			reasons = true
		}
		ends[i] = said.said
	}
	if said.said == 0 {
		return
	}
	key := said.key()
	bare := !reasons && string(s.recall(key, "reasons")) == "true"
	list := s.recall(key, "gaps")
	var gaps []*hiddenRun
	for gap := range rawjson.Elements(list, rawjson.Whole(list)) {
		v, _ := rawjson.Lookup(list, gap, "items")
		at := int(rawjson.Int(list, gap, "at"))
		g := &hiddenRun{items: s.recallRun(v.Of(list)), bare: bare}
		if g.items == nil {
			continue
		}
		if i, _ := slices.BinarySearch(ends, at+1); i < len(ends) {
			g.at = run[i].at.Start
		} else {
			last, _ := slices.BinarySearch(ends, said.said)
			g.at, g.after = run[last].at.End, true
		}
		gaps = append(gaps, g)
	}
	r.addRow(gaps)
}

// rememberText keeps what the client may not send back of this response by what it does: {"gaps": [{"at": bytes that were said before
// it, "items": the part of runKey that names it}, …], "reasons": whether the client saw reasoning}.
func (s *session) rememberText() {
	said, reasons := sayAfter(s.chain), false
	var gaps, hidden []byte
	gap := func() {
		if hidden != nil {
			gaps = append(strconv.AppendInt(append(rawjson.Separate(gaps), `{"at":`...), int64(said.said), 10), `,"items":`...)
			gaps = append(append(gaps, s.keepRun(hidden)...), '}')
			hidden = nil
		}
	}
	for _, p := range s.said {
		i := p.seen
		if i == nil {
			hidden = append(rawjson.Separate(hidden), p.raw...)
			continue
		}
		gap()
		switch {
		case i.kind == "message":
			content, _ := rawjson.Lookup(i.raw, rawjson.Whole(i.raw), "content")
			said.text(openai.ContentText(i.raw, content))
		case i.isCall():
			said.calls = append(said.calls, i.callID)
		case i.kind == "reasoning":
			reasons = true
		}
	}
	gap()
	if said.said == 0 || gaps == nil {
		return
	}
	var r recall.Record
	r.AddList("gaps", gaps)
	r.Add("reasons", strconv.AppendBool(nil, reasons))
	s.opts.Memory.Put(said.key(), r)
}
