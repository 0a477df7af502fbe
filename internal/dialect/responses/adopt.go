package responses

import (
	"slices"

	"github.com/keyturn/keyturn/internal/dialect/rawjson"
)

// adoption finds out which items of a response's output are those that events have told of. Some providers make all ids anew for the
// response that ends the stream, and some leave items out there.
type adoption struct {
	known  map[string]*outputItem   // by id
	calls  map[string]*outputItem   // by the call's id
	rest   map[string][]*outputItem // by what they are, in order
	taken  map[*outputItem]bool
	placed []*outputItem // by their places
}

// sort is what an item is: of calls, of which tool.
func (i *outputItem) sort() string { return i.kind + "\x00" + i.name }

func (s *session) adoption() *adoption {
	a := &adoption{
		known: map[string]*outputItem{}, calls: map[string]*outputItem{}, rest: map[string][]*outputItem{}, taken: map[*outputItem]bool{},
		placed: slices.Clone(s.turn.items),
	}
	for _, i := range slices.Backward(a.placed) { // of two with one id the first counts
		if i == nil {
			continue
		}
		if i.id != "" {
			a.known[i.id] = i
		}
		if i.callID != "" {
			a.calls[i.sort()+"\x00"+i.callID] = i
		}
	}
	for _, i := range a.placed {
		if i != nil && i.kind != "" {
			a.rest[i.sort()] = append(a.rest[i.sort()], i)
		}
	}
	return a
}

// find is the item of the turn that the one at a place of the output is; nil for one that no event has told of.
func (a *adoption) find(place int, as *outputItem) *outputItem {
	var i *outputItem
	switch at := a.at(place); {
	case as.id != "" && a.known[as.id] != nil:
		i = a.known[as.id]
	case as.callID != "" && a.calls[as.sort()+"\x00"+as.callID] != nil:
		i = a.calls[as.sort()+"\x00"+as.callID]
	case at != nil && !a.taken[at] && (at.kind == "" || at.sort() == as.sort() || as.kind == ""):
		i = at
	default:
		i = a.next(as.sort())
	}
	if i != nil {
		a.taken[i] = true
	}
	return i
}

func (a *adoption) at(place int) *outputItem {
	if place < len(a.placed) {
		return a.placed[place]
	}
	return nil
}

// next is the first item of a sort that none of the output was yet.
func (a *adoption) next(sort string) *outputItem {
	list := a.rest[sort]
	for len(list) > 0 && a.taken[list[0]] {
		list = list[1:]
	}
	a.rest[sort] = list
	if len(list) == 0 {
		return nil
	}
	return list[0]
}

// adopt takes the items of the response's output that no event of their own told of.
func (s *session) adopt(b []byte, list rawjson.Span) {
	a := s.adoption()
	place := -1
	for v := range rawjson.Elements(b, list) {
		place++
		raw := v.Of(b)
		var as outputItem
		as.read(raw)
		i := a.find(place, &as)
		if i == nil {
			if place >= maxItems {
				return
			}
			if i = s.item(min(place, len(s.turn.items))); i.raw != nil || i.kind != "" {
				i = s.item(len(s.turn.items))
			}
			a.taken[i] = true
		}
		if i.raw != nil {
			continue
		}
		if i.kind == "" {
			s.identify(i, raw)
		}
		s.done(i, raw)
		if i.id != "" && a.known[i.id] == nil {
			a.known[i.id] = i
		}
		if !i.own {
			s.see(i, s.nextIndex)
		}
	}
}
