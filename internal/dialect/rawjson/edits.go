package rawjson

import (
	"cmp"
	"iter"
	"slices"
	"strconv"
)

// Edits are changes of a run of bytes that leave every other byte as it is. They may be noted in any order and should not
// overlap: of two that do, the later in the bytes is left out. Of two insertions at one place the one noted first comes first, and
// both before what replaces the bytes that begin there.
type Edits struct {
	list []edit
	// Where the members and elements begin that are taken out, and where something is put in: each in order, each once.
	gone, put []int
	from      []Span // the objects and arrays that something is taken out of
	resolved  bool   // list has what goes with all of gone
}

type edit struct {
	at   Span
	with []byte
	out  bool // it stands for something in gone
}

// Reset forgets all changes.
func (e *Edits) Reset() {
	e.list, e.gone, e.put, e.from, e.resolved = e.list[:0], e.gone[:0], e.put[:0], e.from[:0], true
}

// None reports whether no change was noted.
func (e *Edits) None() bool { return len(e.list) == 0 && len(e.gone) == 0 }

// Replace puts with in the place of what stands at s. It keeps with, which must not change before Apply.
func (e *Edits) Replace(s Span, with []byte) { e.list = append(e.list, edit{at: s, with: with}) }

// ReplaceInt puts a number in the place of what stands at s.
func (e *Edits) ReplaceInt(s Span, n int) { e.Replace(s, strconv.AppendInt(nil, int64(n), 10)) }

// Insert puts with before b[i].
func (e *Edits) Insert(i int, with []byte) {
	e.Replace(Span{i, i}, with)
	e.put = include(e.put, i)
}

// include adds i to places that are in order. Most are noted in order.
func include(places []int, i int) []int {
	if n := len(places); n == 0 || places[n-1] < i {
		return append(places, i)
	}
	if at, there := slices.BinarySearch(places, i); !there {
		return slices.Insert(places, at, i)
	}
	return places
}

func includes(places []int, i int) bool {
	_, there := slices.BinarySearch(places, i)
	return there
}

// Remove takes a member out of the object that it stands in, with the comma that it leaves over. Any number of an object's
// members may be taken out, in any order.
func (e *Edits) Remove(b []byte, object Span, m Member) { e.takeOut(b, object, m.Key.Start) }

// Drop takes an element out of the array that it stands in, with the comma that it leaves over. As with Remove, any number may go.
func (e *Edits) Drop(b []byte, array, element Span) { e.takeOut(b, array, element.Start) }

func (e *Edits) takeOut(b []byte, from Span, at int) {
	e.gone, e.resolved = include(e.gone, at), false
	from.Start = SkipSpace(b, from.Start)
	if n := len(e.from); n == 0 || e.from[n-1].Start != from.Start {
		e.from = append(e.from, from)
	}
}

// resolve says which bytes go with what is taken out, now that all of it is known: each with what is between it and the last part
// before it that stays; without one, with what is between it and the next.
func (e *Edits) resolve(b []byte) {
	if e.resolved || len(e.gone) == 0 {
		return
	}
	e.resolved = true
	e.list = slices.DeleteFunc(e.list, func(c edit) bool { return c.out })
	slices.SortFunc(e.from, func(x, y Span) int { return cmp.Compare(x.Start, y.Start) })
	e.from = slices.CompactFunc(e.from, func(x, y Span) bool { return x.Start == y.Start })
	for _, from := range e.from {
		e.resolveIn(b, from)
	}
}

func (e *Edits) resolveIn(b []byte, from Span) {
	before, open, at := -1, -1, 0 // where the last part ended, once one has stayed; where a part that went began, if none has; where the last that went ended
	for p := range parts(b, from) {
		stays := !includes(e.gone, p.Start)
		switch {
		case stays && open >= 0:
			e.list = append(e.list, edit{at: Span{open, p.Start}, out: true})
			before, open = p.End, -1
		case stays:
			before = p.End
		case before >= 0:
			e.list = append(e.list, edit{at: Span{before, p.End}, out: true})
			before = p.End
		case open < 0:
			open = p.Start
		}
		if !stays {
			at = p.End
		}
	}
	if open >= 0 { // none stays
		e.list = append(e.list, edit{at: Span{open, at}, out: true})
	}
}

// parts yields where the members of an object, or the elements of an array, stand.
func parts(b []byte, at Span) iter.Seq[Span] {
	if !IsObject(at.Of(b)) {
		return Elements(b, at)
	}
	return func(yield func(Span) bool) {
		for m := range Members(b, at) {
			if !yield(Span{m.Key.Start, m.Val.End}) {
				return
			}
		}
	}
}

// Set replaces the value of the member called name of the object at b[object], or appends the member.
func (e *Edits) Set(b []byte, object Span, name string, value []byte) {
	for m := range Members(b, object) {
		if string(m.Name) == name {
			e.Replace(m.Val, value)
			return
		}
	}
	member := make([]byte, 0, len(name)+len(value)+4)
	e.Push(b, object, append(append(strconv.AppendQuote(member, name), ':'), value...))
}

// Push appends values, JSON joined by commas, to the array at b[array]; or members to an object, which must not have them.
func (e *Edits) Push(b []byte, array Span, values []byte) {
	if len(values) == 0 {
		return
	}
	end, some := SkipSpace(b, array.Start)+1, false
	for p := range parts(b, array) {
		end, some = p.End, some || !includes(e.gone, p.Start)
	}
	if some || includes(e.put, end) {
		values = append([]byte{','}, values...)
	}
	e.Insert(end, values)
}

// Growth is by how many bytes the changes make what they are in longer; less, where some of them overlap.
func (e *Edits) Growth() int {
	n := 0
	for _, c := range e.list {
		n += len(c.with) - (c.at.End - c.at.Start)
	}
	return max(n, 0)
}

// Apply appends b with the changes in it to dst.
func (e *Edits) Apply(dst, b []byte) []byte { return e.ApplyTo(dst, b, Span{0, len(b)}) }

// ApplyTo appends b[part] with the changes that lie in it to dst.
func (e *Edits) ApplyTo(dst, b []byte, part Span) []byte {
	e.resolve(b)
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
