package scripted

import (
	"encoding/json"
	"slices"
)

// ledger is what a strict provider keeps of its answers, so that it can tell what it has said. The Provider's lock protects it.
// The oldest answers are forgotten first.
type ledger struct {
	responses map[string]*kept
	order     []string // their ids, oldest first
	bytes     int64    // of all that is kept of them
	issued    map[string]issued
	threads   map[string]*thread // conversations
	queue     []string           // their ids, oldest first
	thought   map[string]bool    // tool_use ids of Messages that came after a thought
	thinkers  []string           // the same, oldest first
}

// kept is one response.
type kept struct {
	id, previous, thread string
	input, output        []json.RawMessage
	object               json.RawMessage
	stored               bool // store was not false: it can be asked for, and gone on from
	background           bool
	size                 int64
}

// issued is an item of a response's output.
type issued struct {
	raw            json.RawMessage
	reasoning      string // the reasoning item before it in the same response; "" if there is none
	next, nextCall string // id and call_id of the item after it
	stored         bool
}

// thread is a conversation object.
type thread struct {
	items    []json.RawMessage
	created  int64
	metadata json.RawMessage
	size     int64
}

func newLedger() ledger {
	return ledger{
		responses: map[string]*kept{}, issued: map[string]issued{}, threads: map[string]*thread{}, thought: map[string]bool{},
	}
}

func sizeOf(items ...[]json.RawMessage) (n int64) {
	for _, list := range items {
		for _, raw := range list {
			n += int64(len(raw))
		}
	}
	return n
}

// add keeps a response, and appends it to its conversation.
func (l *ledger) add(k *kept, maxResponses int, maxBytes int64) {
	k.size = sizeOf(k.input, k.output) + int64(len(k.object))
	l.responses[k.id] = k
	l.order = append(l.order, k.id)
	l.bytes += k.size
	reasoning := ""
	items := make([]itemTold, len(k.output))
	for i, raw := range k.output {
		_ = json.Unmarshal(raw, &items[i]) // this package made it
	}
	for i, item := range items {
		entry := issued{raw: k.output[i], reasoning: reasoning, stored: k.stored}
		if i+1 < len(items) {
			entry.next, entry.nextCall = items[i+1].ID, items[i+1].CallID
		}
		if item.Type == "reasoning" {
			reasoning = item.ID
		}
		l.issued[item.ID] = entry
	}
	if t := l.threads[k.thread]; t != nil {
		l.extend(t, slices.Concat(k.input, k.output))
	}
	for len(l.order) > 1 && (len(l.order) > maxResponses || l.bytes > maxBytes) {
		l.forget(l.order[0])
		l.order = l.order[1:]
	}
}

// extend appends items to a conversation.
func (l *ledger) extend(t *thread, items []json.RawMessage) {
	t.items = append(t.items, items...)
	t.size += sizeOf(items)
	l.bytes += sizeOf(items)
}

// open begins a conversation.
func (l *ledger) open(id string, t *thread, most int) {
	l.threads[id] = t
	l.queue = append(l.queue, id)
	t.size = sizeOf(t.items)
	l.bytes += t.size
	if len(l.queue) > most {
		l.end(l.queue[0])
		l.queue = l.queue[1:]
	}
}

// end forgets a conversation; ending it again does nothing.
func (l *ledger) end(id string) {
	if t := l.threads[id]; t != nil {
		l.bytes -= t.size
		delete(l.threads, id)
	}
}

// forget forgets a response and its items; those of a conversation stay in it.
func (l *ledger) forget(id string) {
	k := l.responses[id]
	if k == nil {
		return
	}
	l.bytes -= k.size
	for _, raw := range k.output {
		var item itemTold
		_ = json.Unmarshal(raw, &item)
		delete(l.issued, item.ID)
	}
	delete(l.responses, id)
}

// chain is all that the response and those before it were told and said, in order; false if one of them is not there.
func (l *ledger) chain(id string) (items []json.RawMessage, ok bool) {
	for id != "" {
		k := l.responses[id]
		if k == nil || !k.stored {
			return nil, false
		}
		items = slices.Concat(k.input, k.output, items)
		id = k.previous
	}
	return items, true
}

// thinks notes that a call on Messages came after a thought.
func (l *ledger) thinks(toolUse string, most int) {
	l.thought[toolUse] = true
	if l.thinkers = append(l.thinkers, toolUse); len(l.thinkers) > most {
		delete(l.thought, l.thinkers[0])
		l.thinkers = l.thinkers[1:]
	}
}

// keep keeps a response that has come to its end, if the provider is strict.
func (x *exchange) keep(r *responseObject) {
	if !x.p.cfg.Strict || r.Status == "failed" {
		return
	}
	t := x.heard()
	k := &kept{
		id: r.ID, previous: t.Previous, object: encode(r),
		stored: string(r.Store) != "false", background: string(r.Background) == "true",
	}
	if r.Conversation != nil {
		k.thread = r.Conversation.ID
	}
	for _, item := range t.own {
		k.input = append(k.input, item.raw)
	}
	for _, item := range r.Output {
		k.output = append(k.output, encode(item))
	}
	x.p.mu.Lock()
	defer x.p.mu.Unlock()
	x.p.ledger.add(k, x.p.cfg.KeepRequests, max(x.p.cfg.KeepBytes, defaultKeepBytes))
}
