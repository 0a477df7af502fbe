package dialect

import (
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// This file finds hidden calls again for clients that replay what was said without the ids of items: by the text of a response and
// the ids of the client's calls in it, after the same conversation.

// textKey is under what is remembered what a response hid: before stands for the conversation that it answered.
func textKey(before chatDigest, text string, calls []string) string {
	h := chatHasher{sha256.New()}
	h.write(before[:])
	h.write([]byte(text))
	slices.Sort(calls) // some clients list them as they end
	for _, id := range calls {
		h.write([]byte(id))
	}
	d := h.sum()
	return "responses/text/" + base64.RawURLEncoding.EncodeToString(d[:])
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
func (f *responsesFields) begun(h chatHasher, b []byte) chatDigest {
	for _, v := range []span{f.instructions, f.user, f.safetyIdentifier} {
		h.write(v.of(b))
	}
	return h.sum()
}

// nextItem is the digest of a conversation with one item more, as the client has it. Left out is what clients are known to change:
// reasoning, the ids of items, white space in what the model said, whether a text stands alone or in a list.
func nextItem(h chatHasher, before chatDigest, b []byte, i *inputItem) chatDigest {
	if i.kind == "reasoning" {
		return before
	}
	h.Reset()
	h.write(before[:])
	content, _ := lookup(b, i.at, "content")
	switch {
	case i.reference:
		h.write([]byte(i.id))
	case i.isMessage() && i.role == "assistant":
		h.write([]byte(i.role))
		h.write([]byte(squeezed(contentText(b, content))))
	case i.isMessage() && content.found() && b[content.start] == '[':
		h.write([]byte(i.role))
		for part := range elements(b, content) {
			if v, ok := lookup(b, part, "text"); ok {
				h.write([]byte(unquote(v.of(b))))
			} else {
				h.write(part.of(b))
			}
		}
	case i.isMessage():
		h.write([]byte(i.role))
		h.write([]byte(unquote(content.of(b))))
	default:
		h.write([]byte(i.kind))
		h.write([]byte(i.callID))
		if output, ok := lookup(b, i.at, "output"); ok {
			h.write(output.of(b))
		}
	}
	return h.sum()
}

// byText finds what else was hidden, and takes the conversation's digest.
func (s *responses) byText(r *returning, b []byte, f *responsesFields, items []inputItem) {
	h := chatHasher{sha256.New()}
	s.chain = f.begun(h, b)
	if f.input.found() && b[f.input.start] == '"' {
		message := userMessage(f.input.of(b))
		s.chain = nextItem(h, s.chain, message, &inputItem{at: whole(message), role: "user"})
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
func (s *responses) runByText(r *returning, b []byte, run []inputItem) {
	said, calls, reasons := "", []string(nil), false
	ends := make([]int, len(run)) // how much was said up to the end of an item
	for i := range run {
		item := &run[i]
		switch {
		case item.isMessage():
			content, _ := lookup(b, item.at, "content")
			said += squeezed(contentText(b, content))
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
	for gap := range elements(list, whole(list)) {
		v, _ := lookup(list, gap, "items")
		at := int(count(list, gap, "at"))
		g := &hiddenRun{items: v.of(list), bare: bare}
		if i := slices.IndexFunc(ends, func(end int) bool { return end > at }); i >= 0 {
			g.at = run[i].at.start
		} else {
			g.at, g.after = run[slices.Index(ends, len(said))].at.end, true
		}
		gaps = append(gaps, g)
	}
	r.addRow(gaps)
}

// rememberText keeps what the client did not see of this response by what it did: {"gaps": [{"at": bytes that were said before it,
// "items": [hidden items]}, …], "reasons": whether the client saw reasoning}.
func (s *responses) rememberText() {
	said, calls, reasons := "", []string(nil), false
	var gaps, hidden []byte
	gap := func() {
		if hidden != nil {
			gaps = append(strconv.AppendInt(append(join(gaps), `{"at":`...), int64(len(said)), 10), `,"items":[`...)
			gaps = append(append(gaps, hidden...), `]}`...)
			hidden = nil
		}
	}
	for _, p := range s.said {
		i := p.seen
		if i == nil {
			hidden = append(join(hidden), p.raw...)
			continue
		}
		gap()
		switch {
		case i.kind == "message":
			content, _ := lookup(i.raw, whole(i.raw), "content")
			said += squeezed(contentText(i.raw, content))
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
	var r record
	r.addList("gaps", gaps)
	r.add("reasons", strconv.AppendBool(nil, reasons))
	s.opts.Memory.Put(textKey(s.chain, said, calls), r)
}
