package messages

import (
	"bytes"
	"slices"
	"strings"

	"github.com/keyturn/keyturn/internal/dialect/rawjson"
)

// restore notes the changes that make a client's conversation the one that the provider had: each answer that was merged of several
// turns becomes those turns again, and the results of calls of Keyturn's stand beside the client's.
func (t *conversation) restore(e *rawjson.Edits, b []byte) {
	for i, m := range t.list {
		if m.role != "assistant" || !rawjson.Once(b, m.at, "role", "content") {
			continue
		}
		if a, ok := t.answerAt(b, i); ok {
			t.replace(e, b, a)
		}
	}
}

// answer is an answer in a request, and the turns that it was merged of.
type answer struct {
	from, to int // its messages, the last included: some clients send each block in one of its own
	turns    []pastTurn
	// changed says that the client has changed it. Then only the last turn is of use, since the client's own calls tell where in the
	// answer it is.
	changed bool
}

// answerAt finds the turns of the answer that ends with the i-th message: by the conversation up to it; or, where the client has
// changed the conversation, by the calls in it.
func (t *conversation) answerAt(b []byte, i int) (answer, bool) {
	a := answer{from: i, to: i}
	key := turnsKey(t.list[i].sum)
	v, ok := t.memory.Get(key)
	if !ok {
		if key = t.byCall(b, i); key == "" {
			return a, false
		}
		if v, ok = t.memory.Get(key); !ok {
			return a, false
		}
	}
	t.memory.Put(key, v) // it is in use: its time begins anew
	var thought strings.Builder
	list, _ := rawjson.Lookup(v, rawjson.Whole(v), "turns")
	for at := range rawjson.Elements(v, list) {
		content, _ := rawjson.Lookup(v, at, "content")
		results, _ := rawjson.Lookup(v, at, "results")
		thought.WriteString(thinkingOf(v, content))
		p := pastTurn{content: content.Of(v)}
		for x := range rawjson.Elements(v, results) {
			p.results = append(p.results, x.Of(v))
		}
		a.turns = append(a.turns, p)
	}
	if len(a.turns) == 0 {
		return a, false
	}
	all, thoughtless := t.reach(b, &a, rawjson.Text(v, rawjson.Whole(v), "shown"), thought.String())
	switch {
	case thoughtless: // and so it is to stay
		for j := range a.turns {
			a.turns[j].content = withoutThinking(a.turns[j].content)
		}
	case !all:
		a.changed, a.from = true, t.run(i)
		return a, t.byCall(b, i) == key
	}
	return a, true
}

// maxParts is in how many messages the parts of an answer are looked for, beside its last.
const maxParts = 256

// reach finds where the answer begins that is named shown and has the thoughts. It reports whether all of the answer stands there, or
// all but the thoughts: some clients leave them out.
func (t *conversation) reach(b []byte, a *answer, shown, thoughts string) (all, thoughtless bool) {
	for from, first := a.to, max(t.run(a.to), a.to-maxParts); from >= first; from-- {
		alone, has := newIdentity(), ""
		for _, m := range t.list[from : a.to+1] {
			alone.content("assistant", b, m.content)
			has += thinkingOf(b, m.content)
		}
		if alone.sum() != shown {
			continue
		}
		switch has {
		case thoughts:
			a.from = from
			return true, false
		case "":
			a.from, thoughtless = from, true
		}
	}
	return false, thoughtless
}

// run is the first of the messages of the assistant's that end with the i-th.
func (t *conversation) run(i int) int {
	for i > 0 && t.list[i-1].role == "assistant" {
		i--
	}
	return i
}

// byCall is the key of the turns that a call in an answer belongs to; "" if there is none, or the answer does not end with the i-th
// message.
func (t *conversation) byCall(b []byte, i int) string {
	if i+1 < len(t.list) && t.list[i+1].role == "assistant" {
		return ""
	}
	for _, m := range t.list[t.run(i) : i+1] {
		for v := range rawjson.Elements(b, m.content) {
			if rawjson.Text(b, v, "type") != "tool_use" {
				continue
			}
			if found, ok := t.memory.Get(callKey(rawjson.Text(b, v, "id"))); ok {
				return turnsKey(rawjson.Text(found, rawjson.Whole(found), "turns"))
			}
		}
	}
	return ""
}

// withoutThinking is an array of blocks without thinking.
func withoutThinking(list []byte) []byte {
	var e rawjson.Edits
	for v := range rawjson.Elements(list, rawjson.Whole(list)) {
		if isThinking(rawjson.Text(list, v, "type")) {
			e.Drop(list, rawjson.Whole(list), v)
		}
	}
	return e.Apply(nil, list)
}

// replace notes the turns in the place of an answer. Results of the last turn's calls go to the message after it, where the client's
// are.
func (t *conversation) replace(e *rawjson.Edits, b []byte, a answer) {
	last := &a.turns[len(a.turns)-1]
	next := said{}
	if a.to+1 < len(t.list) {
		next = t.list[a.to+1]
	}
	if len(last.results) > 0 {
		switch {
		case next.role == "user" && next.content.Found() && rawjson.Once(b, next.at, "role", "content"):
			e.Replace(next.content, withResults(b, next.content, last))
		case hasForeignCall(last):
			return // the client owes results
		}
	}
	if a.changed {
		t.insertCalls(e, b, a, last)
		return
	}
	var out, control []byte
	for _, m := range t.list[a.from : a.to+1] {
		if c := cacheControl(b, m.content); c != nil {
			control = c
		}
	}
	for j := range a.turns {
		p := &a.turns[j]
		content := p.content
		if p == last {
			content = marked(content, control)
		}
		if first := rawjson.SkipSpace(content, 1); first < len(content) && content[first] != ']' {
			out = append(append(append(rawjson.Separate(out), `{"role":"assistant","content":`...), content...), '}')
		}
		if p != last || len(p.results) > 0 && next.role != "user" {
			out = appendUser(rawjson.Separate(out), p.results)
		}
	}
	if len(out) > 0 {
		e.Replace(rawjson.Span{Start: t.list[a.from].at.Start, End: t.list[a.to].at.End}, out)
	}
}

// resultFor finds a result by the id of its call.
func resultFor(results [][]byte, id string) []byte {
	for _, r := range results {
		if rawjson.Text(r, rawjson.Whole(r), "tool_use_id") == id {
			return r
		}
	}
	return nil
}

// hasForeignCall reports whether the client has calls of the turn to answer.
func hasForeignCall(p *pastTurn) bool {
	for v := range rawjson.Elements(p.content, rawjson.Whole(p.content)) {
		if rawjson.Text(p.content, v, "type") == "tool_use" && resultFor(p.results, rawjson.Text(p.content, v, "id")) == nil {
			return true
		}
	}
	return false
}

// withResults is the content of the client's message after a turn, with the results of all of the turn's calls first, in their order.
func withResults(b []byte, content rawjson.Span, p *pastTurn) []byte {
	var theirs, out [][]byte
	if b[content.Start] == '"' {
		block := append(append([]byte(`{"type":"text","text":`), content.Of(b)...), '}')
		if !blankText(rawjson.Unquote(content.Of(b))) {
			theirs = append(theirs, block)
		}
	}
	for v := range rawjson.Elements(b, content) {
		theirs = append(theirs, v.Of(b))
	}
	for v := range rawjson.Elements(p.content, rawjson.Whole(p.content)) {
		if rawjson.Text(p.content, v, "type") != "tool_use" {
			continue
		}
		id := rawjson.Text(p.content, v, "id")
		if r := resultFor(p.results, id); r != nil {
			out = append(out, r)
			continue
		}
		for i, r := range theirs {
			if rawjson.Text(r, rawjson.Whole(r), "type") == "tool_result" && rawjson.Text(r, rawjson.Whole(r), "tool_use_id") == id {
				out = append(out, r)
				theirs = slices.Delete(theirs, i, i+1)
				break
			}
		}
	}
	return slices.Concat([]byte{'['}, bytes.Join(append(out, theirs...), rawjson.Comma), []byte{']'})
}

// insertCalls puts Keyturn's calls of an answer's last turn into the answer, which the client has changed: each before the call of the
// client's that it stood before, else at the end.
func (t *conversation) insertCalls(e *rawjson.Edits, b []byte, a answer, last *pastTurn) {
	var waiting []byte
	for v := range rawjson.Elements(last.content, rawjson.Whole(last.content)) {
		if rawjson.Text(last.content, v, "type") != "tool_use" {
			continue
		}
		id := rawjson.Text(last.content, v, "id")
		if resultFor(last.results, id) != nil {
			waiting = append(rawjson.Separate(waiting), v.Of(last.content)...)
			continue
		}
		for _, m := range t.list[a.from : a.to+1] {
			for w := range rawjson.Elements(b, m.content) {
				if waiting != nil && rawjson.Text(b, w, "type") == "tool_use" && rawjson.Text(b, w, "id") == id {
					e.Insert(w.Start, append(waiting, ','))
					waiting = nil
				}
			}
		}
	}
	if end := t.list[a.to].content; end.Found() && b[end.Start] == '[' {
		e.Push(b, end, waiting)
	}
}

// cacheControl is the last one that the client set in a list of blocks; nil if there is none.
func cacheControl(b []byte, content rawjson.Span) (found []byte) {
	for v := range rawjson.Elements(b, content) {
		if c, ok := rawjson.Lookup(b, v, "cache_control"); ok && !rawjson.IsNull(c.Of(b)) {
			found = c.Of(b)
		}
	}
	return found
}

// marked is an array of blocks with a cache_control on the last that may have one.
func marked(list, control []byte) []byte {
	if control == nil {
		return list
	}
	for _, v := range slices.Backward(slices.Collect(rawjson.Elements(list, rawjson.Whole(list)))) {
		if isThinking(rawjson.Text(list, v, "type")) {
			continue
		}
		var e rawjson.Edits
		e.Set(list, v, "cache_control", control)
		return e.Apply(nil, list)
	}
	return list
}
