package responses

import (
	"container/list"
	"crypto/sha256"
	"slices"

	"github.com/keyturn/keyturn/internal/dialect/rawjson"
)

// This file puts calls that were hidden, or that the client was shown and does not send back, and their results, into the input of its
// next request.

// returning is what was hidden or left out, as it comes back: runs in order, none of them twice.
type returning struct {
	runs *list.List // of *hiddenRun
	by   map[[sha256.Size]byte]*list.Element
	sent map[string]bool // ids of the calls that the client does send
}

func newReturning(items []inputItem) returning {
	r := returning{runs: list.New(), by: map[[sha256.Size]byte]*list.Element{}, sent: map[string]bool{}}
	for i := range items {
		if item := &items[i]; item.callID != "" && (item.own || item.isCall()) {
			r.sent[item.callID] = true
		}
	}
	return r
}

// hiddenRun is a row of items that stood together.
type hiddenRun struct {
	at    int    // where in the request
	after bool   // it follows an item that ends there; otherwise it comes before one that begins there
	items []byte // JSON array
	bare  bool   // without the ids by which the provider would ask for the reasoning before calls
}

// find is where the same items are; nil if they are not.
func (r *returning) find(items []byte) *list.Element { return r.by[sha256.Sum256(items)] }

// add notes a run, unless it is there already, which was remembered with both of its neighbours, or there is nothing in it.
func (r *returning) add(run hiddenRun) {
	if len(run.items) > len(`[]`) && run.items[0] == '[' && r.find(run.items) == nil {
		r.by[sha256.Sum256(run.items)] = r.runs.PushBack(&run)
	}
}

// addRow notes the runs of one response that are not there already. They keep their order, also among those that are there.
func (r *returning) addRow(row []*hiddenRun) {
	nexts := make([]*list.Element, len(row)) // the next run of the row that is there already
	for n := len(row) - 2; n >= 0; n-- {
		if nexts[n] = r.find(row[n+1].items); nexts[n] == nil {
			nexts[n] = nexts[n+1]
		}
	}
	var last *list.Element
	for n, run := range row {
		if at := r.find(run.items); at != nil {
			last = at
			continue
		}
		switch next := nexts[n]; {
		case last != nil && runAt(last).at >= run.at:
			run.at, run.after = runAt(last).at, runAt(last).after
			last = r.runs.InsertAfter(run, last)
		case next != nil && runAt(next).at <= run.at:
			run.at, run.after = runAt(next).at, runAt(next).after
			last = r.runs.InsertBefore(run, next)
		default:
			last = r.runs.PushBack(run)
		}
		r.by[sha256.Sum256(run.items)] = last
	}
}

func runAt(e *list.Element) *hiddenRun { return e.Value.(*hiddenRun) }

// withoutIDs is an array of items without their ids.
func withoutIDs(list []byte) []byte {
	var e rawjson.Edits
	for item := range rawjson.Elements(list, rawjson.Whole(list)) {
		for m := range rawjson.Members(list, item) {
			if string(m.Name) == "id" {
				e.Remove(list, item, m)
			}
		}
	}
	return e.Apply(nil, list)
}

// restoreHidden puts items back: before and after the items that stood beside them, or where they stood in what was said.
func (s *session) restoreHidden(e *rawjson.Edits, b []byte, f *requestFields, items []inputItem) {
	r := newReturning(items)
	reasons, until := false, 0 // of the response that the item is of, which ends there
	for i := range items {
		if s.opts.Left(i) {
			return
		}
		if i >= until {
			reasons, until = reasoned(items, i)
		}
		before, after, bare := s.beside(&items[i])
		bare = bare && !reasons
		r.add(hiddenRun{at: items[i].at.Start, items: before, bare: bare})
		r.add(hiddenRun{at: items[i].at.End, after: true, items: after, bare: bare})
	}
	if !f.stateful() {
		s.byText(&r, b, f, items)
	}
	r.apply(e)
}

// reasoned reports whether there is reasoning among the items of the model's that begin with the i-th, or may be, and where they end.
func reasoned(items []inputItem, i int) (reasons bool, end int) {
	for ; i < len(items) && items[i].isModels(); i++ {
		reasons = reasons || items[i].kind == "reasoning" || items[i].reference
	}
	return reasons, i
}

// beside is what stood before and after an item, found by its id, or by that of its call: clients leave out the one or the other.
// Bare: it goes without ids where the client leaves the reasoning out.
func (s *session) beside(item *inputItem) (before, after []byte, bare bool) {
	for _, key := range s.keysOf(item) {
		before, after = s.recallRun(s.recall(key, "before")), s.recallRun(s.recall(key, "after"))
		if before != nil || after != nil {
			return before, after, string(s.recall(key, "reasons")) == "true"
		}
	}
	return nil, nil, false
}

func (s *session) keysOf(item *inputItem) (keys []string) {
	if item.id != "" {
		keys = append(keys, itemKey(item.id))
	}
	if item.callID != "" && item.isCall() {
		keys = append(keys, callKey(item.callID))
	}
	return keys
}

// apply notes the changes. A call comes back with its result or not at all: runs may have been forgotten, or stood beside nothing
// that the client replays. What the client sends is not there twice.
func (r returning) apply(e *rawjson.Edits) {
	calls, results := map[string]bool{}, map[string]bool{}
	for at := r.runs.Front(); at != nil; at = at.Next() {
		run := runAt(at)
		for item := range rawjson.Elements(run.items, rawjson.Whole(run.items)) {
			which := calls
			if rawjson.Text(run.items, item, "type") == "function_call_output" {
				which = results
			}
			which[rawjson.Text(run.items, item, "call_id")] = true
		}
	}
	for at := r.runs.Front(); at != nil; at = at.Next() {
		run := runAt(at)
		list := run.items
		if run.bare {
			list = withoutIDs(list)
		}
		var kept []byte
		for item := range rawjson.Elements(list, rawjson.Whole(list)) {
			if id := rawjson.Text(list, item, "call_id"); calls[id] && results[id] && !r.sent[id] {
				kept = append(rawjson.Separate(kept), item.Of(list)...)
			}
		}
		switch {
		case kept == nil:
		case run.after:
			e.Insert(run.at, slices.Concat(rawjson.Comma, kept))
		default:
			e.Insert(run.at, append(kept, ','))
		}
	}
}
