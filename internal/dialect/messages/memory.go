package messages

import (
	"crypto/sha256"
	"slices"
	"strconv"

	"github.com/keyturn/keyturn/internal/dialect/rawjson"
	"github.com/keyturn/keyturn/internal/dialect/recall"
	"github.com/keyturn/keyturn/internal/dialect/turn"
)

// What is remembered of conversations in this dialect:
//
//	turnsKey:  by a conversation up to and with an answer (identity): {"shown": the identity of the answer alone, "size": its size, "thoughts": those in it (thinkingOf), "turns": [{"content":
//	           [blocks], "results": [tool_result blocks]}, …]}: the turns that the answer was merged of
//	callKey:   by the id of a call that the client answers: {"turns": the part of turnsKey that names those of its answer}
//	begunKey:  by a conversation as a request or an answer left it: {"tools": the part of toolsKey that names those that it has}
//	toolsKey:  by a hash of their definitions and instructions: {"list": [definitions], "instructions": those of their servers}
//
// Values are JSON, so that what is in them keeps its bytes.
func turnsKey(sum string) string { return "messages/turns/" + sum }

func callKey(id string) string { return "messages/call/" + id }

func begunKey(sum string) string { return "messages/begun/" + sum }

func toolsKey(sum string) string { return "messages/tools/" + sum }

// conversation is a request's conversation beside what memory has of it. A nil one has no memory.
type conversation struct {
	memory turn.Memory
	known  *identity
	list   []said          // its messages, while it is opened
	back   map[string]bool // keys of the turns that were put back: those of answers that stand twice come back once
	thinks bool            // there is thinking in it
	tool   string          // names the tools that the conversation has; "" for none
	gaps   bool            // memory has nothing of some answer in it
}

// said is one message of a request.
type said struct {
	at      rawjson.Span
	role    string
	content rawjson.Span
	sum     string // names the conversation up to and with it
	size    int    // bytes of all messages up to and with it that identities are made of
}

func readConversation(o *turn.Options, client []byte, list rawjson.Span) *conversation {
	memory := o.Memory
	t := &conversation{memory: memory, known: newIdentity(), list: make([]said, 0, rawjson.Count(client, list)), back: map[string]bool{}}
	for at := range rawjson.Elements(client, list) {
		if o.Left(len(t.list)) {
			break
		}
		m := said{at: at}
		for member := range rawjson.Members(client, at) {
			switch string(member.Name) {
			case "role":
				m.role = roleName(member.Val.Of(client))
			case "content":
				m.content = member.Val
			}
		}
		t.known.content(m.role, client, m.content)
		m.sum, m.size = t.known.sum(), t.known.size
		t.list = append(t.list, m)
		t.thinks = t.thinks || m.role == "assistant" && thinkingOf(client, m.content) != ""
	}
	for _, m := range t.list {
		if m.role != "assistant" {
			continue
		}
		v, ok := memory.Get(begunKey(m.sum))
		if !ok {
			t.gaps = true
			continue
		}
		memory.Put(begunKey(m.sum), v) // it is in use: its time begins anew
	}
	return t
}

// roleName is rawjson.Word, without an allocation for the roles that there are.
func roleName(raw []byte) string {
	switch string(raw) {
	case `"user"`:
		return "user"
	case `"assistant"`:
		return "assistant"
	}
	return rawjson.Word(raw)
}

// opened forgets where the client's messages stand, now that the request is opened.
func (t *conversation) opened() {
	if t != nil {
		t.list, t.back = nil, nil
	}
}

// forgot reports whether memory has nothing of a part of the conversation.
func (t *conversation) forgot() bool { return t == nil || t.gaps }

// tools are the definitions that the conversation has begun with, joined by commas, and the instructions. It returns false if it has only now begun, or if
// that is not known. Where there were none, a conversation with thinking in it does without for good; another may get some.
func (t *conversation) tools() (list []byte, instructions string, begun bool) {
	if t == nil {
		return nil, "", false
	}
	for i, m := range slices.Backward(t.list) {
		if i == len(t.list)-1 && m.role != "assistant" {
			continue // this request's own
		}
		v, ok := t.memory.Get(begunKey(m.sum))
		if !ok {
			continue
		}
		name := rawjson.Text(v, rawjson.Whole(v), "tools")
		if name == "" {
			return nil, "", t.thinks
		}
		v, _ = t.memory.Get(toolsKey(name))
		l, ok := rawjson.Lookup(v, rawjson.Whole(v), "list")
		if !ok || v[l.Start] != '[' || l.End-l.Start < 3 {
			return nil, "", false
		}
		return slices.Clone(v[l.Start+1 : l.End-1]), rawjson.Text(v, rawjson.Whole(v), "instructions"), true
	}
	return nil, "", false
}

// offers notes which tools the request has.
func (t *conversation) offers(list []byte, instructions string) {
	if t == nil {
		return
	}
	if list != nil {
		var kept recall.Record
		kept.AddList("list", list)
		if instructions != "" {
			kept.Add("instructions", rawjson.AppendString(nil, instructions))
		}
		sum := sha256.Sum256(kept)
		t.tool = nameOfHash(sum[:])
		t.memory.Put(toolsKey(t.tool), slices.Clip(kept))
	}
	if n := len(t.list); n > 0 {
		t.begun(t.list[n-1].sum)
	}
}

// begun keeps that the conversation has its tools.
func (t *conversation) begun(sum string) {
	t.memory.Put(begunKey(sum), append(rawjson.AppendString([]byte(`{"tools":`), t.tool), '}'))
}

// remember keeps what the client cannot send back of an answer that is over.
func (t *conversation) remember(s *session) {
	if t == nil {
		return
	}
	shown := s.shown()
	t.known.content("assistant", shown, rawjson.Whole(shown))
	sum := t.known.sum()
	t.begun(sum)
	last := s.past[len(s.past)-1]
	if len(s.past) == 1 && len(last.results) == 0 {
		return // nothing was hidden
	}
	var r recall.Record
	alone := newIdentity()
	alone.content("assistant", shown, rawjson.Whole(shown))
	r.Add("shown", rawjson.AppendString(nil, alone.sum()))
	r.Add("size", strconv.AppendInt(nil, int64(alone.size), 10))
	r.Add("thoughts", rawjson.AppendString(nil, thinkingOf(shown, rawjson.Whole(shown))))
	var turns []byte
	for _, p := range s.past {
		var turn recall.Record
		turn.Add("content", slices.Concat([]byte{'['}, p.content, []byte{']'}))
		var results []byte
		for _, b := range p.results {
			results = append(rawjson.Separate(results), b...)
		}
		turn.AddList("results", results)
		turns = append(rawjson.Separate(turns), turn...)
	}
	r.AddList("turns", turns)
	t.memory.Put(turnsKey(sum), slices.Clip(r))
	for _, b := range s.turn.blocks {
		if b.kind == "tool_use" && !b.own && b.id != "" {
			t.memory.Put(callKey(b.id), append(rawjson.AppendString([]byte(`{"turns":`), sum), '}'))
		}
	}
}
