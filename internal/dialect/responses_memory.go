package dialect

import "slices"

// What is remembered for a client's next request, each an object under one of these keys:
//
//	responseKey: the client's id of a response: {"id": that of its last turn, "outputs": [results that the provider waits for]}
//	callKey:     a call that the client answers, of a turn that called Keyturn's tools too: {"outputs": […], "before": […], "after": […]}
//	itemKey:     an item that the client saw: {"before": [hidden items that stood before it], "after": […]}
//	ownKey:      an mcp_call: {"call": the function_call item, "output": its result as the model had it}; where that is more than
//	             text, also "shown": what the client saw of it
//	endKey:      the mcp_call of a turn's last call of Keyturn's: {"id": that of the turn's last item}
//	textKey:     what a response said, after one conversation: see rememberText
func responseKey(id string) string { return "responses/response/" + id }
func callKey(id string) string     { return "responses/call/" + id }
func itemKey(id string) string     { return "responses/item/" + id }
func ownKey(id string) string      { return "responses/own/" + id }
func endKey(id string) string      { return "responses/end/" + id }

// UpstreamResponseID is the provider's id of the last turn of the response that the client knows by id: what /responses/{id} means
// to the provider. False when the two are the same, or no longer known.
func UpstreamResponseID(m Memory, id string) (string, bool) {
	if m == nil {
		return "", false
	}
	v, _ := m.Get(responseKey(id))
	upstream := text(v, whole(v), "id")
	return upstream, upstream != "" && upstream != id
}

// recall is a member of what is remembered; nil if there is none.
func (s *responses) recall(key, name string) []byte {
	if s.opts.Memory == nil {
		return nil
	}
	b, ok := s.opts.Memory.Get(key)
	if !ok || !validJSON(b) {
		return nil
	}
	v, ok := lookup(b, whole(b), name)
	if !ok {
		return nil
	}
	return v.of(b)
}

// recallList is a list that is remembered, without its brackets; nil if there is none or it is empty.
func (s *responses) recallList(key, name string) []byte {
	list := s.recall(key, name)
	if len(list) <= len(`[]`) || list[0] != '[' {
		return nil
	}
	return slices.Clip(list[1 : len(list)-1])
}

// record is a remembered object that is being written.
type record []byte

func (r *record) add(name string, value []byte) {
	if len(*r) == 0 {
		*r = append(*r, '{')
	} else {
		(*r)[len(*r)-1] = ','
	}
	*r = append(append(append(appendString(*r, name), ':'), value...), '}')
}

// addList adds values, joined by commas, unless there are none.
func (r *record) addList(name string, values []byte) {
	if len(values) > 0 {
		r.add(name, slices.Concat([]byte{'['}, values, []byte{']'}))
	}
}

// remember keeps what the client's next request needs of this response, now that it ends.
func (s *responses) remember() {
	if s.opts.Memory == nil || s.settled == 0 {
		return
	}
	var pending []byte
	if s.mixed {
		for _, c := range s.calls {
			pending = appendOutput(join(pending), c.callID, c.answer())
		}
	}
	if s.clientID != "" && s.upstreamID != "" && (s.clientID != s.upstreamID || pending != nil) {
		var r record
		r.add("id", appendString(nil, s.upstreamID))
		r.addList("outputs", pending)
		s.opts.Memory.Put(responseKey(s.clientID), r)
	}
	if s.opts.Hidden || s.mixed {
		s.rememberItems(pending)
	}
	if s.opts.Hidden && !s.fields.stateful() {
		s.rememberText()
	}
}

// rememberEnd keeps where a turn ends that another follows: calls that the client sees do not tell.
func (s *responses) rememberEnd() {
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
		var r record
		r.add("id", appendString(nil, last.shown))
		s.opts.Memory.Put(endKey(own.shown), r)
	}
}

// rememberItems keeps, with each item that the client saw, the hidden ones beside it; and the results that the provider waits for
// with each call of the client's.
func (s *responses) rememberItems(pending []byte) {
	var run []byte  // hidden items since the last one that was seen
	var last *shown // that one
	var seen []*shown
	add := func(raw []byte) { run = append(join(run), raw...) }
	for _, p := range s.said {
		if p.seen == nil {
			add(p.raw)
			continue
		}
		if last != nil {
			last.after = run
		}
		last = &shown{item: p.seen, before: run}
		seen, run = append(seen, last), nil
	}
	if last != nil {
		last.after = run
	}
	for _, v := range seen {
		var r record
		r.addList("before", v.before)
		r.addList("after", v.after)
		if len(r) > 0 && v.item.shown != "" {
			s.opts.Memory.Put(itemKey(v.item.shown), slices.Clone(r))
		}
		if v.item.isCall() && v.item.turn == s.number {
			r.addList("outputs", pending)
		}
		if len(r) > 0 && v.item.isCall() && v.item.callID != "" {
			s.opts.Memory.Put(callKey(v.item.callID), slices.Clone(r))
		}
	}
}

// shown is an item that the client saw, with the hidden ones on both sides.
type shown struct {
	item          *outputItem
	before, after []byte
}

// join makes a list ready for another value.
func join(list []byte) []byte {
	if len(list) > 0 {
		return append(list, ',')
	}
	return list
}
