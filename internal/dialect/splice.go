package dialect

import (
	"cmp"
	"slices"
	"strconv"
)

// edits are changes of a run of bytes that leave every other byte as it is. They may be noted in any order and should not
// overlap: of two that do, the later in the bytes is left out. Of two insertions at one place the one noted first comes first, and
// both before what replaces the bytes that begin there.
type edits struct {
	list []edit
	gone []gone
}

type edit struct {
	at   span
	with []byte
	from int // the start of the object that it takes a member out of, plus one; 0 for other changes
}

// gone is a member or an element that was taken out: where it starts, and where its object or array does.
type gone struct{ from, at int }

func (e *edits) reset() { e.list, e.gone = e.list[:0], e.gone[:0] }

// none reports whether no change was noted.
func (e *edits) none() bool { return len(e.list) == 0 }

// replace puts with in the place of what stands at s. It keeps with, which must not change before apply.
func (e *edits) replace(s span, with []byte) { e.list = append(e.list, edit{at: s, with: with}) }

// replaceInt puts a number in the place of what stands at s.
func (e *edits) replaceInt(s span, n int) { e.replace(s, strconv.AppendInt(nil, int64(n), 10)) }

// insert puts with before b[i].
func (e *edits) insert(i int, with []byte) { e.replace(span{i, i}, with) }

// remove takes a member out of the object that it stands in, with the comma that it leaves over. Any number of an object's
// members may be taken out, one after the other.
func (e *edits) remove(b []byte, object span, m member) {
	e.takeOut(object.start, m.key.start, func(yield func(span) bool) {
		for m := range members(b, object) {
			if !yield(span{m.key.start, m.val.end}) {
				return
			}
		}
	})
}

// drop takes an element out of the array that it stands in, with the comma that it leaves over. As with remove, any number may go.
func (e *edits) drop(b []byte, array, element span) {
	e.takeOut(array.start, element.start, elements(b, array))
}

// takeOut notes that the part of a container that starts at at goes, and says anew which bytes go with all that were taken out of
// it: each with what is between it and the last part before it that stays; without one, with what is between it and the next.
func (e *edits) takeOut(from, at int, parts func(func(span) bool)) {
	e.gone = append(e.gone, gone{from, at})
	e.list = slices.DeleteFunc(e.list, func(c edit) bool { return c.from == from+1 })
	before, open := -1, -1 // where the last part ended, once one has stayed; where a part that went began, if none has
	for p := range parts {
		stays := !slices.Contains(e.gone, gone{from, p.start})
		switch {
		case stays && open >= 0:
			e.list = append(e.list, edit{at: span{open, p.start}, from: from + 1})
			before, open = p.end, -1
		case stays:
			before = p.end
		case before >= 0:
			e.list = append(e.list, edit{at: span{before, p.end}, from: from + 1})
			before = p.end
		case open < 0:
			open = p.start
		}
		if !stays {
			at = p.end
		}
	}
	if open >= 0 { // none stays
		e.list = append(e.list, edit{at: span{open, at}, from: from + 1})
	}
}

// set replaces the value of the member called name of the object at b[object], or appends the member.
func (e *edits) set(b []byte, object span, name string, value []byte) {
	end, some := skipSpace(b, object.start)+1, false
	for m := range members(b, object) {
		if string(m.name) == name {
			e.replace(m.val, value)
			return
		}
		end, some = m.val.end, some || !slices.Contains(e.gone, gone{object.start, m.key.start})
	}
	with := make([]byte, 0, len(name)+len(value)+4)
	if some || e.inserted(end) {
		with = append(with, ',')
	}
	e.insert(end, append(append(strconv.AppendQuote(with, name), ':'), value...))
}

// push appends values, JSON joined by commas, to the array at b[array].
func (e *edits) push(b []byte, array span, values []byte) {
	if len(values) == 0 {
		return
	}
	end, some := skipSpace(b, array.start)+1, false
	for v := range elements(b, array) {
		end, some = v.end, some || !slices.Contains(e.gone, gone{array.start, v.start})
	}
	if some || e.inserted(end) {
		values = append([]byte{','}, values...)
	}
	e.insert(end, values)
}

// inserted reports whether something was put before b[i].
func (e *edits) inserted(i int) bool {
	return slices.ContainsFunc(e.list, func(c edit) bool { return c.at == span{i, i} })
}

// apply appends b with the changes in it to dst.
func (e *edits) apply(dst, b []byte) []byte { return e.applyTo(dst, b, span{0, len(b)}) }

// applyTo appends b[part] with the changes that lie in it to dst.
func (e *edits) applyTo(dst, b []byte, part span) []byte {
	slices.SortStableFunc(e.list, func(x, y edit) int {
		return cmp.Or(cmp.Compare(x.at.start, y.at.start), cmp.Compare(x.at.end, y.at.end))
	})
	i := part.start
	for _, c := range e.list {
		if c.at.start < i || c.at.end > part.end {
			continue
		}
		dst = append(append(dst, b[i:c.at.start]...), c.with...)
		i = c.at.end
	}
	return append(dst, b[i:part.end]...)
}
