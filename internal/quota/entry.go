package quota

import (
	"container/list"
	"time"
)

// entry is a request that was let in and whose record has not come.
type entry struct {
	id       string
	account  *account
	body     int64 // bytes; negative: not known
	tokens   int64 // reserved
	nano     int64
	attempts int           // that run
	until    time.Duration // since the book began
	in       *list.List    // that it stands in; nil: it runs, and how long is known
	place    *list.Element
	settled  bool // its record has come
}

// crowdedLocked makes room: the request goes that has waited longest for its record.
func (b *Book) crowdedLocked() {
	for _, l := range []*list.List{b.waiting, b.between} {
		if first := l.Front(); first != nil {
			b.dropLocked(first.Value.(*entry))
			return
		}
	}
}

func (e *entry) reserve(tokens int64) {
	nano := min(tokens*e.account.rate, MaxSpend)
	e.account.reserved += tokens - e.tokens
	e.account.reservedNano += nano - e.nano
	e.tokens, e.nano = tokens, nano
}

// moveLocked puts e at the end of a list; nil: in none.
func (b *Book) moveLocked(e *entry, to *list.List, until time.Duration) {
	if e.in != nil {
		e.in.Remove(e.place)
	}
	e.in, e.place, e.until = to, nil, until
	if to != nil {
		e.place = to.PushBack(e)
	}
}
