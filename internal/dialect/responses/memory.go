package responses

import (
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"strconv"

	"github.com/keyturn/keyturn/internal/dialect/rawjson"
	"github.com/keyturn/keyturn/internal/dialect/recall"
	"github.com/keyturn/keyturn/internal/dialect/turn"
)

// What is remembered for a client's next request, each an object under one of these keys:
//
//	responseKey: the client's id of a response: {"id": that of its last turn, "turns": [those of the others], "outputs": [results that the
//	             provider waits for]}
//	wholeKey:    the same id: the response
//	callKey:     a call that the client answers, of a turn that called Keyturn's tools too: {"outputs": […], and what itemKey has}
//	itemKey:     an item that the client keeps: {"before": the part of runKey that names the items that stood before it and that the
//	             client may not send back, "after": …, "reasons": whether the client saw reasoning}
//	runKey:      by a hash of them, such items: calls of Keyturn's, whether they were shown or not, and their results
//	ownKey:      an mcp_call: {"call": the function_call item, "output": its result as the model had it}; where that is more than
//	             text, also "shown": what the client saw of it
//	endKey:      the mcp_call of a turn's last call of Keyturn's: {"id": that of the turn's last item}
//	saying:      what a response said, after one conversation: see rememberText
func responseKey(id string) string { return "responses/response/" + id }

func wholeKey(id string) string { return "responses/whole/" + id }

func callKey(id string) string { return "responses/call/" + id }

func itemKey(id string) string { return "responses/item/" + id }

func runKey(name string) string { return "responses/run/" + name }

func ownKey(id string) string { return "responses/own/" + id }

func endKey(id string) string { return "responses/end/" + id }

// upstreamID is the provider's id of the last turn of the response that the client knows by id: what /responses/{id} means
// to the provider. False when the two are the same, or no longer known.
func upstreamID(m turn.Memory, id string) (string, bool) {
	if m == nil {
		return "", false
	}
	v, _ := m.Get(responseKey(id))
	upstream := rawjson.Text(v, rawjson.Whole(v), "id")
	return upstream, upstream != "" && upstream != id
}

// stores reports whether the provider keeps what it answers.
func (s *session) stores() bool { return string(s.fields.store.Of(s.base)) != "false" }

// maxWhole bounds a response that is remembered whole, in bytes.
const maxWhole = 1 << 20

// rememberWhole keeps the response as the client gets it: the provider has no more than its turns.
func (s *session) rememberWhole(e *rawjson.Edits, b []byte, at rawjson.Span) {
	if s.opts.Memory == nil || s.number == 1 || s.clientID == "" || s.clientID == s.upstreamID || !s.stores() || e.Growth()+at.End-at.Start > maxWhole {
		return
	}
	s.opts.Memory.Put(wholeKey(s.clientID), e.ApplyTo(nil, b, at))
}

// keptOf is what is remembered of the response that the client knows by id.
func keptOf(m turn.Memory, id string) *turn.Kept {
	v, ok := m.Get(responseKey(id))
	list, some := rawjson.Lookup(v, rawjson.Whole(v), "turns")
	if !ok || !some || !rawjson.Valid(v) {
		return nil
	}
	k := &turn.Kept{ID: id}
	for at := range rawjson.Elements(v, list) {
		k.Others = append(k.Others, rawjson.Unquote(at.Of(v)))
	}
	if whole, ok := m.Get(wholeKey(id)); ok && rawjson.Valid(whole) {
		k.Whole = whole
	}
	return k
}

// record is what is remembered under one key, as it was read.
type record map[string][]byte

// recall is a member of what is remembered; nil if there is none. Each key is read once, however often a request names it.
func (s *session) recall(key, name string) []byte {
	if s.opts.Memory == nil {
		return nil
	}
	r, ok := s.recalled[key]
	if ok {
		return r[name]
	}
	b, ok := s.opts.Memory.Get(key)
	if !ok || !rawjson.Valid(b) {
		return nil
	}
	r = record{}
	for m := range rawjson.Members(b, rawjson.Whole(b)) {
		r[string(m.Name)] = m.Val.Of(b)
	}
	if s.recalled == nil {
		s.recalled = map[string]record{}
	}
	s.recalled[key] = r
	return r[name]
}

// recallList is a list that is remembered, without its brackets; nil if there is none or it is empty.
func (s *session) recallList(key, name string) []byte {
	list := s.recall(key, name)
	if len(list) <= len(`[]`) || list[0] != '[' {
		return nil
	}
	return slices.Clip(list[1 : len(list)-1])
}

// keepRun keeps items that stood together, joined by commas, and returns their name, a JSON string.
func (s *session) keepRun(items []byte) []byte {
	sum := sha256.Sum256(items)
	name := base64.RawURLEncoding.EncodeToString(sum[:])
	s.opts.Memory.Put(runKey(name), slices.Concat([]byte{'['}, items, []byte{']'}))
	return rawjson.AppendString(nil, name)
}

// recallRun is an array of items by its name; nil if memory does not have it. Each is read once.
func (s *session) recallRun(named []byte) []byte {
	name := rawjson.Unquote(named)
	if name == "" {
		return nil
	}
	run, known := s.runs[name]
	if known {
		return run
	}
	if v, ok := s.opts.Memory.Get(runKey(name)); ok && rawjson.Valid(v) && v[0] == '[' {
		run = v
	}
	if s.runs == nil {
		s.runs = map[string][]byte{}
	}
	s.runs[name] = run
	return run
}

// remember keeps what the client's next request needs of this response, now that it ends. Many clients do not send back what they
// were shown of Keyturn's calls, so it is remembered like what was hidden.
func (s *session) remember() {
	if s.opts.Memory == nil || s.settled == 0 {
		return
	}
	var pending []byte
	if s.mixed {
		for _, c := range s.calls {
			pending = appendOutput(rawjson.Separate(pending), c.callID, c.outputForModel())
		}
	}
	if s.clientID != "" && s.upstreamID != "" && (s.clientID != s.upstreamID || pending != nil) {
		var r recall.Record
		r.Add("id", rawjson.AppendString(nil, s.upstreamID))
		r.AddList("outputs", pending)
		if s.stores() {
			r.AddList("turns", s.turnIDs)
		}
		s.opts.Memory.Put(responseKey(s.clientID), r)
	}
	s.rememberItems(pending)
	if !s.fields.stateful() {
		s.rememberText()
	}
}

// rememberEnd keeps where a turn ends that another follows: calls that the client sees do not tell.
func (s *session) rememberEnd() {
	if s.opts.Memory == nil || s.opts.Hidden {
		return
	}
	var own, last *outputItem
	for _, i := range s.turn.items {
		if i == nil || !s.stays(i) {
			continue
		}
		last = i
		if i.own {
			own = i
		}
	}
	if own != nil {
		var r recall.Record
		r.Add("id", rawjson.AppendString(nil, last.shown))
		s.opts.Memory.Put(endKey(own.shown), r)
	}
}

// rememberItems keeps, with each item that the client keeps, what stood beside it and may not come back; and the results that the
// provider waits for with each call of the client's.
func (s *session) rememberItems(pending []byte) {
	var run []byte  // such items since the last one that the client keeps
	var last *shown // that one
	var kept []*shown
	reasons := false
	named := func() (name []byte) {
		if run != nil {
			name, run = s.keepRun(run), nil
		}
		return name
	}
	for _, p := range s.said {
		if p.seen == nil {
			run = append(rawjson.Separate(run), p.raw...)
			continue
		}
		reasons = reasons || p.seen.kind == "reasoning"
		between := named()
		if last != nil {
			last.after = between
		}
		last = &shown{item: p.seen, before: between}
		kept = append(kept, last)
	}
	if last != nil {
		last.after = named()
	}
	waiting := 0
	for _, v := range kept {
		var r recall.Record
		if v.before != nil {
			r.Add("before", v.before)
		}
		if v.after != nil {
			r.Add("after", v.after)
		}
		if len(r) > 0 {
			r.Add("reasons", strconv.AppendBool(nil, reasons))
		}
		if len(r) > 0 && v.item.shown != "" {
			s.opts.Memory.Put(itemKey(v.item.shown), slices.Clone(r))
		}
		if v.item.isCall() && v.item.turn == s.number && waiting < maxWaiting {
			waiting++
			r.AddList("outputs", pending)
		}
		if len(r) > 0 && v.item.isCall() && v.item.callID != "" {
			s.opts.Memory.Put(callKey(v.item.callID), slices.Clone(r))
		}
	}
}

// maxWaiting bounds with how many of a turn's calls the results are kept that the provider waits for too: the client answers all of them.
const maxWaiting = 8

// shown is an item that the client keeps, with the names of what stood on both sides.
type shown struct {
	item          *outputItem
	before, after []byte
}
