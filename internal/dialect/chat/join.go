package chat

import (
	"slices"
	"strings"

	"github.com/keyturn/keyturn/internal/dialect/turn"
)

// This file has what becomes of a turn's calls of Keyturn's at its end, where a provider did not number or name their pieces as OpenAI
// does: each call that the model made is run once, or not at all.

// joining is where calls stand that may be one.
type joining struct {
	index int64
	name  string
}

// join makes one call of those of Keyturn's that have one number and one tool, and were taken for several since the provider made an id
// for every piece. Calls that come once more are left out.
func (s *session) join() {
	groups, order := map[joining][]*toolCall{}, []joining(nil)
	for _, call := range s.turn.calls {
		if call.owner != turn.Keyturn || !call.indexed {
			continue
		}
		at := joining{call.index, strings.TrimSpace(call.name)}
		if groups[at] == nil {
			order = append(order, at)
		}
		groups[at] = append(groups[at], call)
	}
	for _, at := range order {
		joinGroup(groups[at])
	}
	came := map[string]int{}
	for _, call := range s.turn.calls {
		if call.owner == turn.Keyturn && !call.gone {
			call.gone = call.repeats(came)
		}
	}
	s.turn.calls = slices.DeleteFunc(s.turn.calls, func(call *toolCall) bool { return call.gone })
}

// joinGroup joins calls of one number and one tool, unless they are calls by a provider that gives all one number: then each is complete. Where
// neither is so they are joined all the same, and the model reads that they are no JSON: a piece of arguments may look like arguments.
func joinGroup(calls []*toolCall) {
	var all turn.Arguments
	apart, blank, once := true, false, true // {} may come before the arguments, and is a call after them
	for i, call := range calls {
		text := call.args.Text()
		apart = apart && turn.IsObject(text)
		blank = blank || i > 0 && turn.IsBlank(text)
		once = once && call.came == calls[0].came
		all.Add(call.args.Raw())
	}
	if apart && (blank || once || !turn.IsObject(all.Text())) {
		came := map[string]int{}
		for _, call := range calls {
			call.gone = repeats(came, string(call.args.Text()), call)
		}
		return
	}
	first := calls[0]
	first.args = all
	for _, call := range calls[1:] {
		first.extra, first.inner = concat(first.extra, call.extra), concat(first.inner, call.inner)
		call.gone = true
	}
}

// repeats reports whether a call came before, in another chunk: with the same id, or with nothing that tells it apart. Came has the
// chunks in which calls came.
func (call *toolCall) repeats(came map[string]int) bool {
	args := call.args.Text()
	key := strings.TrimSpace(call.name) + "\x00" + string(args)
	switch {
	case !turn.IsObject(args) || call.id == "" && call.indexed:
		return false
	case call.id == "":
		return repeats(came, key, call)
	}
	if _, ok := came[key]; !ok && !call.indexed {
		came[key] = call.came
	}
	return repeats(came, call.id+"\x00"+key, call)
}

// repeats reports whether what a call is came in another chunk. Of two with the arguments {} and no id both may well be meant.
func repeats(came map[string]int, what string, call *toolCall) bool {
	if at, ok := came[what]; ok {
		return at != call.came && (call.id != "" && strings.HasPrefix(what, call.id+"\x00") || !turn.IsBlank(call.args.Text()))
	}
	came[what] = call.came
	return false
}
