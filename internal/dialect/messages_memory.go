package dialect

import (
	"crypto/sha256"
	"slices"
)

// What is remembered of conversations in this dialect:
//
//	turnsKey:  by a conversation up to and with an answer (identity): {"shown": the identity of the answer alone, "turns": [{"content":
//	           [blocks], "results": [tool_result blocks]}, …]}: the turns that the answer was merged of
//	callKey:   by the id of a call that the client answers: {"turns": the part of turnsKey that names those of its answer}
//	begunKey:  by a conversation as a request or an answer left it: {"tools": the part of toolsKey that names those that it has}
//	toolsKey:  by a hash of their definitions: {"list": [definitions]}
//
// Values are JSON, so that what is in them keeps its bytes.
func messagesTurnsKey(sum string) string { return "messages/turns/" + sum }
func messagesCallKey(id string) string   { return "messages/call/" + id }
func messagesBegunKey(sum string) string { return "messages/begun/" + sum }
func messagesToolsKey(sum string) string { return "messages/tools/" + sum }

// messagesTalk is a request's conversation beside what memory has of it. A nil one has no memory.
type messagesTalk struct {
	memory Memory
	client []byte // the request as the client sent it
	known  *identity
	list   []said // its messages
	thinks bool   // there is thinking in it
	tool   string // names the tools that the conversation has; "" for none
	gaps   bool   // memory has nothing of some answer in it
}

// said is one message of a request.
type said struct {
	at      span
	role    string
	content span
	sum     string // names the conversation up to and with it
}

func readTalk(memory Memory, client []byte, list span) *messagesTalk {
	t := &messagesTalk{memory: memory, client: client, known: newIdentity()}
	for at := range elements(client, list) {
		m := said{at: at}
		for member := range members(client, at) {
			switch string(member.name) {
			case "role":
				m.role = unquote(member.val.of(client))
			case "content":
				m.content = member.val
			}
		}
		t.known.content(m.role, client, m.content)
		m.sum = t.known.sum()
		t.list = append(t.list, m)
		t.thinks = t.thinks || m.role == "assistant" && thinkingOf(client, m.content) != ""
	}
	for _, m := range t.list {
		if m.role != "assistant" {
			continue
		}
		v, ok := memory.Get(messagesBegunKey(m.sum))
		if !ok {
			t.gaps = true
			continue
		}
		memory.Put(messagesBegunKey(m.sum), v) // it is in use: its time begins anew
	}
	return t
}

// forgot reports whether memory has nothing of a part of the conversation.
func (t *messagesTalk) forgot() bool { return t == nil || t.gaps }

// tools are the definitions that the conversation has begun with, joined by commas. It returns false if it has only now begun, or if
// that is not known. Where there were none, a conversation with thinking in it does without for good; another may get some.
func (t *messagesTalk) tools() (list []byte, begun bool) {
	if t == nil {
		return nil, false
	}
	for i, m := range slices.Backward(t.list) {
		if i == len(t.list)-1 && m.role != "assistant" {
			continue // this request's own
		}
		v, ok := t.memory.Get(messagesBegunKey(m.sum))
		if !ok {
			continue
		}
		name := text(v, whole(v), "tools")
		if name == "" {
			return nil, t.thinks
		}
		v, _ = t.memory.Get(messagesToolsKey(name))
		l, ok := lookup(v, whole(v), "list")
		if !ok || v[l.start] != '[' || l.end-l.start < 3 {
			return nil, false
		}
		return slices.Clone(v[l.start+1 : l.end-1]), true
	}
	return nil, false
}

// offers notes which tools the request has.
func (t *messagesTalk) offers(list []byte) {
	if t == nil {
		return
	}
	if list != nil {
		sum := sha256.Sum256(list)
		t.tool = nameOfHash(sum[:])
		t.memory.Put(messagesToolsKey(t.tool), slices.Concat([]byte(`{"list":[`), list, []byte(`]}`)))
	}
	if n := len(t.list); n > 0 {
		t.begun(t.list[n-1].sum)
	}
}

// begun keeps that the conversation has its tools.
func (t *messagesTalk) begun(sum string) {
	t.memory.Put(messagesBegunKey(sum), append(appendString([]byte(`{"tools":`), t.tool), '}'))
}

// remember keeps what the client cannot send back of an answer that is over.
func (t *messagesTalk) remember(s *messages) {
	if t == nil {
		return
	}
	shown := slices.Concat([]byte{'['}, s.shown(), []byte{']'})
	t.known.content("assistant", shown, whole(shown))
	sum := t.known.sum()
	t.begun(sum)
	last := s.past[len(s.past)-1]
	if len(s.past) == 1 && len(last.results) == 0 {
		return // nothing was hidden
	}
	var r record
	alone := newIdentity()
	alone.content("assistant", shown, whole(shown))
	r.add("shown", appendString(nil, alone.sum()))
	var turns []byte
	for _, p := range s.past {
		var turn record
		turn.add("content", slices.Concat([]byte{'['}, p.content, []byte{']'}))
		var results []byte
		for _, b := range p.results {
			results = append(join(results), b...)
		}
		turn.addList("results", results)
		turns = append(join(turns), turn...)
	}
	r.addList("turns", turns)
	t.memory.Put(messagesTurnsKey(sum), slices.Clip(r))
	for _, b := range s.turn.blocks {
		if b.kind == "tool_use" && !b.own && b.id != "" {
			t.memory.Put(messagesCallKey(b.id), append(appendString([]byte(`{"turns":`), sum), '}'))
		}
	}
}
