package messages

import (
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
	// changed says that the client has changed it. Then what the turns said stays as it has it: their calls come back before it, and
	// those of the last turn within, since the client's own calls tell where.
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
	if t.back[key] {
		return a, false
	}
	t.back[key] = true
	t.memory.Put(key, v) // it is in use: its time begins anew
	list, _ := rawjson.Lookup(v, rawjson.Whole(v), "turns")
	for at := range rawjson.Elements(v, list) {
		content, _ := rawjson.Lookup(v, at, "content")
		results, _ := rawjson.Lookup(v, at, "results")
		p := pastTurn{content: content.Of(v)}
		for x := range rawjson.Elements(v, results) {
			p.results = append(p.results, x.Of(v))
		}
		a.turns = append(a.turns, p)
	}
	if len(a.turns) == 0 {
		return a, false
	}
	named := rawjson.Values(v, rawjson.Whole(v), "shown", "size", "thoughts")
	size, _ := rawjson.ParseInt(named[1].Of(v))
	all, thoughtless := t.reach(b, &a, rawjson.Unquote(named[0].Of(v)), int(size), rawjson.Unquote(named[2].Of(v)))
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

// reach finds where the answer begins that is named shown, has a size and the thoughts. It reports whether all of the answer stands there,
// or all but the thoughts: some clients leave them out. Others join them, and so spoil them: then too all of it stands there.
func (t *conversation) reach(b []byte, a *answer, shown string, size int, thoughts string) (all, thoughtless bool) {
	known, thinks := false, false // messages that add nothing to the size add nothing to the identity either
	said := 0                     // thoughts
	left, whole := thoughts, true // what of the thoughts is to stand before; and whether those so far are their end
	for from, first := a.to, max(t.run(a.to), a.to-maxParts); from >= first; from-- {
		has := thinkingOf(b, t.list[from].content)
		if whole {
			left, whole = strings.CutSuffix(left, has)
		}
		before := 0
		if from > 0 {
			before = t.list[from-1].size
		}
		n := t.list[a.to].size - before
		if n > size {
			break
		}
		if thinks = thinks || has != ""; !whole && !among(has, thoughts, &said) {
			return false, false // another answer in the same words
		}
		if n < size {
			continue
		}
		if !known && t.identityOf(b, from, a.to) != shown {
			return false, false
		}
		known, a.from = true, from
		if whole && left == "" {
			return true, false
		}
	}
	return known && thinks, known && !thinks
}

// maxThoughts bounds how many thoughts of an answer are looked for one by one.
const maxThoughts = 64

// among reports whether all of some thoughts are among others. It counts them.
func among(some, thoughts string, count *int) bool {
	for thought := range strings.SplitAfterSeq(strings.ReplaceAll(some, ";", ","), ",") {
		if *count++; *count > maxThoughts || !strings.Contains(thoughts, strings.TrimSuffix(thought, ",")) {
			return false
		}
	}
	return true
}

// identityOf names the messages from one to another of the assistant's.
func (t *conversation) identityOf(b []byte, from, to int) string {
	alone := newIdentity()
	for _, m := range t.list[from : to+1] {
		alone.content("assistant", b, m.content)
	}
	return alone.sum()
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
		t.insertTurns(e, a)
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

// byCall are the results of a turn, by the ids of their calls.
func (p *pastTurn) byCall() map[string][]byte {
	results := make(map[string][]byte, len(p.results))
	for _, r := range slices.Backward(p.results) { // of two the first counts
		results[rawjson.Text(r, rawjson.Whole(r), "tool_use_id")] = r
	}
	return results
}

// hasForeignCall reports whether the client has calls of the turn to answer.
func hasForeignCall(p *pastTurn) bool {
	results := p.byCall()
	for v := range rawjson.Elements(p.content, rawjson.Whole(p.content)) {
		if rawjson.Text(p.content, v, "type") == "tool_use" && results[rawjson.Text(p.content, v, "id")] == nil {
			return true
		}
	}
	return false
}

// withResults is the content of the client's message after a turn, with the results of all of the turn's calls first, in their order.
func withResults(b []byte, content rawjson.Span, p *pastTurn) []byte {
	first := map[string]rawjson.Span{} // the client's results, by the ids of their calls; of two the first
	for v := range rawjson.Elements(b, content) {
		if id := rawjson.Text(b, v, "tool_use_id"); rawjson.Text(b, v, "type") == "tool_result" && !first[id].Found() {
			first[id] = v
		}
	}
	out, results, moved := []byte(nil), p.byCall(), map[int]bool{}
	for v := range rawjson.Elements(p.content, rawjson.Whole(p.content)) {
		if rawjson.Text(p.content, v, "type") != "tool_use" {
			continue
		}
		id := rawjson.Text(p.content, v, "id")
		if r := results[id]; r != nil {
			out = append(rawjson.Separate(out), r...)
		} else if at := first[id]; at.Found() && !moved[at.Start] {
			moved[at.Start] = true
			out = append(rawjson.Separate(out), at.Of(b)...)
		}
	}
	if b[content.Start] == '"' && !blankText(rawjson.Unquote(content.Of(b))) {
		out = append(append(rawjson.Separate(out), `{"type":"text","text":`...), content.Of(b)...)
		out = append(out, '}')
	}
	for v := range rawjson.Elements(b, content) {
		if !moved[v.Start] {
			out = append(rawjson.Separate(out), v.Of(b)...)
		}
	}
	return slices.Concat([]byte{'['}, out, []byte{']'})
}

// insertTurns puts the calls of all turns of an answer but the last, and their results, before the answer, which the client has changed.
func (t *conversation) insertTurns(e *rawjson.Edits, a answer) {
	var out []byte
	for i := range a.turns[:len(a.turns)-1] {
		p := &a.turns[i]
		var calls []byte
		for v := range rawjson.Elements(p.content, rawjson.Whole(p.content)) {
			if rawjson.Text(p.content, v, "type") == "tool_use" {
				calls = append(rawjson.Separate(calls), v.Of(p.content)...)
			}
		}
		if calls != nil {
			out = append(append(appendAssistant(out, calls), ','), appendUser(nil, p.results)...)
			out = append(out, ',')
		}
	}
	if out != nil {
		e.Insert(t.list[a.from].at.Start, out)
	}
}

// insertCalls puts Keyturn's calls of an answer's last turn into the answer, which the client has changed: each before the call of the
// client's that it stood before, else at the end.
func (t *conversation) insertCalls(e *rawjson.Edits, b []byte, a answer, last *pastTurn) {
	var waiting []byte
	first, results := map[string]int{}, last.byCall() // where the client's calls stand; of two the first
	for _, m := range t.list[a.from : a.to+1] {
		for w := range rawjson.Elements(b, m.content) {
			if rawjson.Text(b, w, "type") != "tool_use" {
				continue
			}
			if id := rawjson.Text(b, w, "id"); first[id] == 0 {
				first[id] = w.Start
			}
		}
	}
	for v := range rawjson.Elements(last.content, rawjson.Whole(last.content)) {
		if rawjson.Text(last.content, v, "type") != "tool_use" {
			continue
		}
		id := rawjson.Text(last.content, v, "id")
		if results[id] != nil {
			waiting = append(rawjson.Separate(waiting), v.Of(last.content)...)
			continue
		}
		if at := first[id]; at > 0 && waiting != nil {
			e.Insert(at, append(waiting, ','))
			waiting = nil
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
	last := rawjson.Span{}
	for v := range rawjson.Elements(list, rawjson.Whole(list)) {
		if !isThinking(rawjson.Text(list, v, "type")) {
			last = v
		}
	}
	if !last.Found() {
		return list
	}
	var e rawjson.Edits
	e.Set(list, last, "cache_control", control)
	return e.Apply(nil, list)
}
