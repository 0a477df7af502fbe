package chat

import (
	"strconv"
	"strings"

	"github.com/keyturn/keyturn/internal/dialect/rawjson"
	"github.com/keyturn/keyturn/internal/dialect/turn"
)

// End implements turn.Session.
func (s *session) End(dst []byte) ([]byte, turn.Turn) {
	s.relay.Close(dst)
	if s.turn.failure == nil {
		s.close()
		s.withhold()
	}
	return s.relay.End(), s.result()
}

// withhold leaves out what a turn said that another follows, where the client is to get what the last one says alone.
func (s *session) withhold() {
	t := &s.turn
	switch {
	case !s.alone:
	case t.answer == nil && !s.relay.HoldsWhole(): // the client has it
		s.alone = false
	case len(t.run) > 0 && !t.mixed:
		t.unseen = true
		if t.answer == nil {
			s.relay.Drop()
			s.roleShown, s.shown = s.before.roleShown, s.before.shown
		}
	}
}

// close decides what the turn's end means, now that nothing more of it comes.
func (s *session) close() {
	t := &s.turn
	late := s.settleOwners()
	s.relay.Release()
	s.flush(late)
	s.join()
	switch ours := t.ours(); {
	case len(ours) == 0:
		if t.finished && !t.over {
			s.remember()
		}
		s.release()
	case !t.ended():
		t.tail = nil // the calls are not complete, and the client is not to think that the answer is
	default:
		if s.runs() {
			t.run, t.mixed = ours, t.hasTheirs()
			s.name(ours)
			return
		}
		s.remember()
		s.releaseOnce(s.reasonWithout())
	}
}

// ended reports whether the turn came to its end, and all of it was read.
func (t *currentTurn) ended() bool { return (t.finished || t.over) && !t.broken && !t.failed }

// runs reports whether the turn's calls may be run: not in the last turn, and not those of an answer that was cut short. What else
// finish_reason says does not matter: providers say stop where they mean tool_calls.
func (s *session) runs() bool {
	switch s.turn.reason {
	case "length", "max_tokens", "content_filter", "error":
		return false
	}
	return !s.last && (s.turn.hasTheirs() || s.affords())
}

// affords reports whether the client allows tokens for another turn. Where it does not, calls are not run: their results would reach
// nobody, and a client that goes on would have them run again.
func (s *session) affords() bool {
	var f requestFields
	return f.read(s.request) && s.spend(&rawjson.Edits{}, &f)
}

// reasonWithout is the finish_reason of a turn whose calls of Keyturn's are left out; "" if the provider's own is right.
func (s *session) reasonWithout() string {
	switch {
	case s.turn.hasTheirs():
		return ""
	case !s.last && s.turn.hasOurs() && s.turn.ended() && !s.affords():
		return "length"
	case s.turn.reason != "tool_calls" && s.turn.reason != "function_call":
		return ""
	}
	return "stop"
}

// result is what the turn came to, for the loop.
func (s *session) result() turn.Turn {
	t := &s.turn
	cameTo := turn.Turn{Mixed: t.mixed, Failure: t.failure, Model: t.model, Reason: t.reason, Usage: usageOf(t.usage)}
	cameTo.Cut = t.failure == nil && !t.failed && !t.ended() && (!(t.finished || t.over) || t.hasOurs())
	for _, c := range t.run {
		cameTo.Calls = append(cameTo.Calls, s.call(c))
	}
	s.results = make([]turn.Result, len(t.run))
	return cameTo
}

// usageOf reads a usage object. DeepSeek has its own word for cached tokens.
func usageOf(raw []byte) turn.Usage {
	at := rawjson.Whole(raw)
	return turn.Usage{
		Input:      rawjson.Int(raw, at, "prompt_tokens"),
		Output:     rawjson.Int(raw, at, "completion_tokens"),
		CacheRead:  max(rawjson.Int(raw, at, "prompt_tokens_details", "cached_tokens"), rawjson.Int(raw, at, "prompt_cache_hit_tokens")),
		CacheWrite: rawjson.Int(raw, at, "prompt_tokens_details", "cache_write_tokens"),
		Reasoning:  rawjson.Int(raw, at, "completion_tokens_details", "reasoning_tokens"),
	}
}

// Settle implements turn.Session. The client sees nothing of it.
func (s *session) Settle(dst []byte, i int, r turn.Result) []byte {
	if i >= 0 && i < len(s.results) {
		s.results[i] = r
	}
	return dst
}

// Continue implements turn.Session.
func (s *session) Continue(last bool) bool {
	var f requestFields
	if !f.read(s.request) {
		return false
	}
	var e rawjson.Edits
	if !s.spend(&e, &f) {
		return false
	}
	s.hide()
	messages := append(append(s.assistant(), ','), s.toolMessages()...)
	e.Push(s.request, f.messages, messages)
	s.chooseNext(&e, &f, last)
	s.request = e.Apply(nil, s.request)
	if !s.turn.unseen {
		s.said = concat(s.said, s.turn.fields)
		s.logprobs = concat(s.logprobs, s.turn.logprobs)
	}
	s.usage = rawjson.AddNumbers(s.usage, s.turn.usage)
	s.number++
	s.last = last
	s.start()
	return true
}

// spend takes the tokens that the turn has used from what the client allows. It returns false when none are left.
func (s *session) spend(e *rawjson.Edits, f *requestFields) bool {
	used := usageOf(s.turn.usage).Output
	for _, at := range [...]rawjson.Span{f.maxTokens, f.maxCompletionTokens} {
		limit, ok := rawjson.ParseInt(at.Of(s.request))
		switch {
		case !at.Found() || !ok || used <= 0:
		case limit <= used:
			return false
		default:
			e.Replace(at, strconv.AppendInt(nil, limit-used, 10))
		}
	}
	return true
}

// chooseNext notes the tool_choice of the turns after the first.
func (s *session) chooseNext(e *rawjson.Edits, f *requestFields, last bool) {
	b := s.request
	kind, clients := s.choice(b, f.toolChoice), s.clients
	allowed, _ := rawjson.Lookup(b, f.toolChoice, "allowed_tools")
	if kind == turn.ChoiceAllowed && rawjson.Text(b, allowed, "mode") == "required" {
		list, _ := rawjson.Lookup(b, allowed, "tools")
		kind, clients = turn.ChoiceRequired, s.notOwn(b, list)
	} else if kind == turn.ChoiceAllowed {
		kind = turn.ChoiceAuto
	}
	switch s.names.Choose(kind, clients, last) {
	case turn.AsBefore:
	case turn.None:
		e.Set(b, rawjson.Whole(b), "tool_choice", []byte(`"none"`))
	case turn.Freely:
		if b[f.toolChoice.Start] == '{' && allowed.Found() {
			e.Set(b, allowed, "mode", []byte(`"auto"`))
			return
		}
		e.Set(b, rawjson.Whole(b), "tool_choice", []byte(`"auto"`))
	case turn.OnlyClients:
		s.dropOwn(e, f.tools)
		if list, ok := rawjson.Lookup(b, allowed, "tools"); ok {
			s.dropOwn(e, list)
		}
	}
}

// notOwn is how many tools of a list are not Keyturn's.
func (s *session) notOwn(b []byte, list rawjson.Span) (n int) {
	for t := range rawjson.Elements(b, list) {
		if _, own := s.names.Own(rawjson.Text(b, t, "function", "name")); !own {
			n++
		}
	}
	return n
}

// dropOwn takes Keyturn's tools out of a list in the request.
func (s *session) dropOwn(e *rawjson.Edits, list rawjson.Span) {
	for t := range rawjson.Elements(s.request, list) {
		if _, own := s.names.Own(rawjson.Text(s.request, t, "function", "name")); own {
			e.Drop(s.request, list, t)
		}
	}
}

// hide adds the turn to what the client does not see.
func (s *session) hide() {
	s.hidden = append(rawjson.Separate(s.hidden), s.assistant()...)
	s.hidden = append(rawjson.Separate(s.hidden), s.toolMessages()...)
}

// assistant is the turn's message as it goes back to the provider, with Keyturn's calls and everything else that it had: models that
// reason want their thoughts and signatures back.
func (s *session) assistant() []byte {
	t := &s.turn
	if t.message != nil {
		return t.message
	}
	b := []byte(`{"role":"assistant","content":`)
	if f := fieldOf(t.fields, "content"); f != nil {
		b = f.appendTo(b)
	} else {
		b = append(b, "null"...)
	}
	for i := range t.fields {
		switch f := &t.fields[i]; {
		case f.name == "content" || f.name == "function_call":
		case f.name == "audio": // goes back as its id (ChatCompletionAssistantMessageParam in OpenAI's API reference)
			if id := rawjson.Text(f.raw, rawjson.Whole(f.raw), "id"); id != "" {
				b = append(rawjson.AppendString(append(b, `,"audio":{"id":`...), id), '}')
			}
		default:
			b = appendFields(b, t.fields[i:i+1])
		}
	}
	b = append(b, `,"tool_calls":[`...)
	for i, c := range t.run {
		if i > 0 {
			b = append(b, ',')
		}
		b = c.appendTo(b)
	}
	t.message = append(b, `]}`...)
	return t.message
}

// toolMessages are the results of the turn's calls, joined by commas.
func (s *session) toolMessages() []byte {
	var b []byte
	for i, c := range s.turn.run {
		b = append(rawjson.Separate(b), `{"role":"tool","tool_call_id":`...)
		b = append(rawjson.AppendString(b, c.id), `,"content":`...)
		b = append(rawjson.AppendString(b, resultText(&s.results[i])), '}')
	}
	return b
}

// resultText is a result as text. The role tool takes nothing else, so of an image the model is told that there is one.
func resultText(r *turn.Result) string {
	if r.Error != nil {
		return turn.ErrorPrefix + r.Error.Message
	}
	var list []string
	for _, p := range r.Parts {
		list = append(list, p.Text)
	}
	all := strings.Join(list, "\n")
	if r.IsError && strings.TrimSpace(all) == "" {
		return turn.ErrorPrefix + "the tool failed and did not say why."
	}
	return all
}

// Finish implements turn.Session.
func (s *session) Finish(dst []byte) []byte {
	t := &s.turn
	reason := ""
	if !t.mixed && len(t.run) > 0 { // the client's budget is used up
		reason = "length"
		s.hide()
	}
	s.remember()
	if t.answer != nil {
		s.body = s.merged(reason)
		return dst
	}
	s.relay.To(dst)
	s.releaseOnce(reason)
	return s.relay.Out()
}
