package scripted

import (
	"encoding/json"
	"slices"

	"github.com/keyturn/keyturn/internal/scripted/responses"
	"github.com/keyturn/keyturn/internal/scripted/talk"
)

// ledger is what a strict provider keeps of its answers, so that it can tell what it has said. The Provider's lock protects it.
// The oldest answers are forgotten first.
type ledger struct {
	responses map[string]*responses.Kept
	order     []string // their ids, oldest first
	bytes     int64    // of all that is kept of them
	issued    map[string]issued
	threads   map[string]*thread // conversations
	queue     []string           // their ids, oldest first
	thought   map[string]bool    // tool_use ids of Messages that came after a thought
	thinkers  []string           // the same, oldest first
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
		responses: map[string]*responses.Kept{}, issued: map[string]issued{}, threads: map[string]*thread{}, thought: map[string]bool{},
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
func (l *ledger) add(k *responses.Kept, maxResponses int, maxBytes int64) {
	k.Size = sizeOf(k.Input, k.Output) + int64(len(k.Object))
	l.responses[k.ID] = k
	l.order = append(l.order, k.ID)
	l.bytes += k.Size
	reasoning := ""
	items := make([]talk.Item, len(k.Output))
	for i, raw := range k.Output {
		_ = json.Unmarshal(raw, &items[i]) // this package made it
	}
	for i, item := range items {
		entry := issued{raw: k.Output[i], reasoning: reasoning, stored: k.Stored}
		if i+1 < len(items) {
			entry.next, entry.nextCall = items[i+1].ID, items[i+1].CallID
		}
		if item.Type == "reasoning" {
			reasoning = item.ID
		}
		l.issued[item.ID] = entry
	}
	if t := l.threads[k.Thread]; t != nil {
		l.extend(t, slices.Concat(k.Input, k.Output))
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
	l.bytes -= k.Size
	for _, raw := range k.Output {
		var item talk.Item
		_ = json.Unmarshal(raw, &item)
		delete(l.issued, item.ID)
	}
	delete(l.responses, id)
}

// chain is all that the response and those before it were told and said, in order; false if one of them is not there.
func (l *ledger) chain(id string) (items []json.RawMessage, ok bool) {
	for id != "" {
		k := l.responses[id]
		if k == nil || !k.Stored {
			return nil, false
		}
		items = slices.Concat(k.Input, k.Output, items)
		id = k.Previous
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
