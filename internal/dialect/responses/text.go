package responses

import (
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/keyturn/keyturn/internal/dialect/openai"
	"github.com/keyturn/keyturn/internal/dialect/rawjson"
	"github.com/keyturn/keyturn/internal/dialect/recall"
)

// This file finds hidden calls again for clients that replay what was said without the ids of items: by the text of a response and
// the ids of the client's calls in it, after the same conversation.

// textKey is the key of what a response hid: made of its text, of the ids of the client's calls in it, and of the conversation before it.
func textKey(before recall.Digest, text string, calls []string) string {
	h := recall.NewHasher()
	h.Add(before[:])
	h.Add([]byte(text))
	slices.Sort(calls) // some clients list them as they end
	for _, id := range calls {
		h.Add([]byte(id))
	}
	d := h.Digest()
	return "responses/text/" + d.String()
}

// squeezed is a text without white space: clients trim texts, and join or split them.
func squeezed(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return -1
		}
		return r
	}, s)
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
		h.Add([]byte(squeezed(openai.ContentText(b, content))))
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
	said, calls, reasons := "", []string(nil), false
	ends := make([]int, len(run)) // how much was said up to the end of an item
	for i := range run {
		item := &run[i]
		switch {
		case item.isMessage():
			content, _ := rawjson.Lookup(b, item.at, "content")
			said += squeezed(openai.ContentText(b, content))
		case item.isCall():
			calls = append(calls, item.callID)
		case item.kind == "reasoning", item.reference:
			reasons = true
		}
		ends[i] = len(said)
	}
	if said == "" {
		return
	}
	key := textKey(s.chain, said, calls)
	bare := !reasons && string(s.recall(key, "reasons")) == "true"
	list := s.recall(key, "gaps")
	var gaps []*hiddenRun
	for gap := range rawjson.Elements(list, rawjson.Whole(list)) {
		v, _ := rawjson.Lookup(list, gap, "items")
		at := int(rawjson.Int(list, gap, "at"))
		g := &hiddenRun{items: v.Of(list), bare: bare}
		if i := slices.IndexFunc(ends, func(end int) bool { return end > at }); i >= 0 {
			g.at = run[i].at.Start
		} else {
			g.at, g.after = run[slices.Index(ends, len(said))].at.End, true
		}
		gaps = append(gaps, g)
	}
	r.addRow(gaps)
}

// rememberText keeps what the client did not see of this response by what it did: {"gaps": [{"at": bytes that were said before it,
// "items": [hidden items]}, …], "reasons": whether the client saw reasoning}.
func (s *session) rememberText() {
	said, calls, reasons := "", []string(nil), false
	var gaps, hidden []byte
	gap := func() {
		if hidden != nil {
			gaps = append(strconv.AppendInt(append(rawjson.Separate(gaps), `{"at":`...), int64(len(said)), 10), `,"items":[`...)
			gaps = append(append(gaps, hidden...), `]}`...)
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
			said += squeezed(openai.ContentText(i.raw, content))
		case i.isCall():
			calls = append(calls, i.callID)
		case i.kind == "reasoning":
			reasons = true
		}
	}
	gap()
	if said == "" || gaps == nil {
		return
	}
	var r recall.Record
	r.AddList("gaps", gaps)
	r.Add("reasons", strconv.AppendBool(nil, reasons))
	s.opts.Memory.Put(textKey(s.chain, said, calls), r)
}
