package rawjson

import (
	"cmp"
	"slices"
	"strconv"
)

// Edits are changes of a run of bytes that leave every other byte as it is. They may be noted in any order and should not
// overlap: of two that do, the later in the bytes is left out. Of two insertions at one place the one noted first comes first, and
// both before what replaces the bytes that begin there.
type Edits struct {
	list []edit
	gone []gone
}

type edit struct {
	at   Span
	with []byte
	from int // the start of the object that it takes a member out of, plus one; 0 for other changes
}

// gone is a member or an element that was taken out: where it starts, and where its object or array does.
type gone struct{ from, at int }

// Reset forgets all changes.
func (e *Edits) Reset() { e.list, e.gone = e.list[:0], e.gone[:0] }

// None reports whether no change was noted.
func (e *Edits) None() bool { return len(e.list) == 0 }

// Replace puts with in the place of what stands at s. It keeps with, which must not change before Apply.
func (e *Edits) Replace(s Span, with []byte) { e.list = append(e.list, edit{at: s, with: with}) }

// ReplaceInt puts a number in the place of what stands at s.
func (e *Edits) ReplaceInt(s Span, n int) { e.Replace(s, strconv.AppendInt(nil, int64(n), 10)) }

// Insert puts with before b[i].
func (e *Edits) Insert(i int, with []byte) { e.Replace(Span{i, i}, with) }

// Remove takes a member out of the object that it stands in, with the comma that it leaves over. Any number of an object's
// members may be taken out, one after the other.
func (e *Edits) Remove(b []byte, object Span, m Member) {
	e.takeOut(object.Start, m.Key.Start, func(yield func(Span) bool) {
		for m := range Members(b, object) {
			if !yield(Span{m.Key.Start, m.Val.End}) {
				return
			}
		}
	})
}

// Drop takes an element out of the array that it stands in, with the comma that it leaves over. As with Remove, any number may go.
func (e *Edits) Drop(b []byte, array, element Span) {
	e.takeOut(array.Start, element.Start, Elements(b, array))
}

// takeOut notes that the part of a container that starts at at goes, and says anew which bytes go with all that were taken out of
// it: each with what is between it and the last part before it that stays; without one, with what is between it and the next.
func (e *Edits) takeOut(from, at int, parts func(func(Span) bool)) {
	e.gone = append(e.gone, gone{from, at})
	e.list = slices.DeleteFunc(e.list, func(c edit) bool { return c.from == from+1 })
	before, open := -1, -1 // where the last part ended, once one has stayed; where a part that went began, if none has
	for p := range parts {
		stays := !slices.Contains(e.gone, gone{from, p.Start})
		switch {
		case stays && open >= 0:
			e.list = append(e.list, edit{at: Span{open, p.Start}, from: from + 1})
			before, open = p.End, -1
		case stays:
			before = p.End
		case before >= 0:
			e.list = append(e.list, edit{at: Span{before, p.End}, from: from + 1})
			before = p.End
		case open < 0:
			open = p.Start
		}
		if !stays {
			at = p.End
		}
	}
	if open >= 0 { // none stays
		e.list = append(e.list, edit{at: Span{open, at}, from: from + 1})
	}
}

// Set replaces the value of the member called name of the object at b[object], or appends the member.
func (e *Edits) Set(b []byte, object Span, name string, value []byte) {
	end, some := SkipSpace(b, object.Start)+1, false
	for m := range Members(b, object) {
		if string(m.Name) == name {
			e.Replace(m.Val, value)
			return
		}
		end, some = m.Val.End, some || !slices.Contains(e.gone, gone{object.Start, m.Key.Start})
	}
	with := make([]byte, 0, len(name)+len(value)+4)
	if some || e.inserted(end) {
		with = append(with, ',')
	}
	e.Insert(end, append(append(strconv.AppendQuote(with, name), ':'), value...))
}

// Push appends values, JSON joined by commas, to the array at b[array].
func (e *Edits) Push(b []byte, array Span, values []byte) {
	if len(values) == 0 {
		return
	}
	end, some := SkipSpace(b, array.Start)+1, false
	for v := range Elements(b, array) {
		end, some = v.End, some || !slices.Contains(e.gone, gone{array.Start, v.Start})
	}
	if some || e.inserted(end) {
		values = append([]byte{','}, values...)
	}
	e.Insert(end, values)
}

// inserted reports whether something was put before b[i].
func (e *Edits) inserted(i int) bool {
	return slices.ContainsFunc(e.list, func(c edit) bool { return c.at == Span{i, i} })
}

// Apply appends b with the changes in it to dst.
func (e *Edits) Apply(dst, b []byte) []byte { return e.ApplyTo(dst, b, Span{0, len(b)}) }

// ApplyTo appends b[part] with the changes that lie in it to dst.
func (e *Edits) ApplyTo(dst, b []byte, part Span) []byte {
	slices.SortStableFunc(e.list, func(x, y edit) int {
		return cmp.Or(cmp.Compare(x.at.Start, y.at.Start), cmp.Compare(x.at.End, y.at.End))
	})
	i := part.Start
	for _, c := range e.list {
		if c.at.Start < i || c.at.End > part.End {
			continue
		}
		dst = append(append(dst, b[i:c.at.Start]...), c.with...)
		i = c.at.End
	}
	return append(dst, b[i:part.End]...)
}
