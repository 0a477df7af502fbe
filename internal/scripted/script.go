package scripted

// Script chooses the answer to a request. An Answer is a Script that always chooses itself; Seq, Func and HeadFunc are the
// others. A model that looks at the conversation is an Answer: ToolUser.
type Script interface {
	// choose returns the answer. It is asked once the headers have arrived and, if it then says false, again once the body
	// has.
	choose(r Request, whole bool) (Answer, bool)
}

func (a Answer) choose(Request, bool) (Answer, bool) { return a, true }

type sequence []Answer

// Seq answers the first request of a key with first, the next one with the next answer, and so on; the last answer repeats. The
// place is counted for each key, so one Seq may serve several. Keys that only Default serves are counted together.
func Seq(first Answer, more ...Answer) Script {
	return append(sequence{first}, more...)
}

func (s sequence) choose(r Request, _ bool) (Answer, bool) {
	return s[min(r.KeyN, len(s))-1], true
}

// Func chooses the answer by looking at the whole request, with its body. An answer that comes before the body has been read
// (RefuseRead) comes too late here: HeadFunc is for those.
type Func func(Request) Answer

func (f Func) choose(r Request, whole bool) (Answer, bool) {
	if !whole {
		return Answer{}, false
	}
	return f(r), true
}

// HeadFunc chooses the answer by looking at the request's method, path and headers, before the body has been read: BodySize,
// Body, Model and Stream are still empty.
type HeadFunc func(Request) Answer

func (f HeadFunc) choose(r Request, _ bool) (Answer, bool) { return f(r), true }
