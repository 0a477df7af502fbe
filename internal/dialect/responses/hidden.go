package responses

import (
	"slices"

	"github.com/keyturn/keyturn/internal/dialect/rawjson"
)

// This file puts calls that were hidden, and their results, back into the input of the client's next request.

// returning is what was hidden, as it comes back.
type returning []*hiddenRun

// hiddenRun is a row of items that stood together.
type hiddenRun struct {
	at    int    // where in the request
	after bool   // it follows an item that ends there; otherwise it comes before one that begins there
	items []byte // JSON array
	bare  bool   // without the ids by which the provider would ask for the reasoning before calls
}

// index is where the same items are; -1 if they are not.
func (r returning) index(items []byte) int {
	return slices.IndexFunc(r, func(run *hiddenRun) bool { return string(run.items) == string(items) })
}

// add notes a run, unless it is there already, which was remembered with both of its neighbours, or there is nothing in it.
func (r *returning) add(run hiddenRun) {
	if len(run.items) > len(`[]`) && run.items[0] == '[' && r.index(run.items) < 0 {
		*r = append(*r, &run)
	}
}

// addRow notes the runs of one response that are not there already. They keep their order, also among those that are there.
func (r *returning) addRow(row []*hiddenRun) {
	var last *hiddenRun
	for n, run := range row {
		if i := r.index(run.items); i >= 0 {
			last = (*r)[i]
			continue
		}
		next := -1
		for _, later := range row[n+1:] {
			if next = r.index(later.items); next >= 0 {
				break
			}
		}
		switch {
		case last != nil && last.at >= run.at:
			run.at, run.after = last.at, last.after
			*r = slices.Insert(*r, r.index(last.items)+1, run)
		case next >= 0 && (*r)[next].at <= run.at:
			run.at, run.after = (*r)[next].at, (*r)[next].after
			*r = slices.Insert(*r, next, run)
		default:
			*r = append(*r, run)
		}
		last = run
	}
}

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

// restoreHidden puts hidden items back: before and after the items that stood beside them, or where they stood in what was said.
func (s *session) restoreHidden(e *rawjson.Edits, b []byte, f *requestFields, items []inputItem) {
	var r returning
	for i := range items {
		before, after := s.beside(&items[i])
		r.add(hiddenRun{at: items[i].at.Start, items: before})
		r.add(hiddenRun{at: items[i].at.End, after: true, items: after})
	}
	if s.opts.Hidden && !f.stateful() {
		s.byText(&r, b, f, items)
	}
	r.apply(e)
}

// beside is what stood before and after an item, found by its id, or by that of its call: clients leave out the one or the other.
func (s *session) beside(item *inputItem) (before, after []byte) {
	if item.id != "" {
		before, after = s.recall(itemKey(item.id), "before"), s.recall(itemKey(item.id), "after")
	}
	if before == nil && after == nil && item.callID != "" && item.isCall() {
		before, after = s.recall(callKey(item.callID), "before"), s.recall(callKey(item.callID), "after")
	}
	return before, after
}

// apply notes the changes. A call comes back with its result or not at all: runs may have been forgotten, or stood beside nothing
// that the client replays.
func (r returning) apply(e *rawjson.Edits) {
	calls, results := map[string]bool{}, map[string]bool{}
	for _, run := range r {
		for item := range rawjson.Elements(run.items, rawjson.Whole(run.items)) {
			which := calls
			if rawjson.Text(run.items, item, "type") == "function_call_output" {
				which = results
			}
			which[rawjson.Text(run.items, item, "call_id")] = true
		}
	}
	for _, run := range r {
		list := run.items
		if run.bare {
			list = withoutIDs(list)
		}
		var kept []byte
		for item := range rawjson.Elements(list, rawjson.Whole(list)) {
			if id := rawjson.Text(list, item, "call_id"); calls[id] && results[id] {
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
