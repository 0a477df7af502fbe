package rawjson

import (
	"bytes"
	"math"
	"strconv"
)

// Bounds of what is summed. Usage has some hundred bytes, two levels deep.
const (
	maxSummed      = 64 << 10 // bytes
	maxSummedDepth = 8
)

// AddNumbers returns the object last with the numbers of earlier added to those that have the same place in it, and the elements of
// arrays put before those of the same place. What earlier alone has is appended; everything else of last, unknown members too, stays as
// it is. Either may be empty or null. It is last where one of them is larger than usage ever is, and what lies deeper stays likewise.
func AddNumbers(earlier, last []byte) []byte {
	switch {
	case !IsObject(earlier):
		return last
	case !IsObject(last):
		return earlier
	case len(earlier) > maxSummed || len(last) > maxSummed:
		return last
	}
	var e Edits
	addMembers(&e, last, Whole(last), earlier, Whole(earlier), maxSummedDepth)
	return e.Apply(nil, last)
}

func addMembers(e *Edits, last []byte, at Span, earlier []byte, from Span, depth int) {
	place := index(last, at)
	var more []byte
	for m := range Members(earlier, from) {
		v, ok := place[string(m.Name)]
		was := m.Val.Of(earlier)
		isNumber := was[0] == '-' || '0' <= was[0] && was[0] <= '9'
		switch {
		case !isNumber && was[0] != '{' && was[0] != '[':
		case !ok:
			more = append(append(append(Separate(more), m.Key.Of(earlier)...), ':'), was...)
		case IsNull(v.Of(last)):
			e.Replace(v, was)
		case isNumber:
			if sum := addNumber(was, v.Of(last)); sum != nil {
				e.Replace(v, sum)
			}
		case was[0] != last[v.Start]:
		case was[0] == '[':
			if inside := bytes.TrimSpace(was[1 : len(was)-1]); len(inside) > 0 {
				e.Replace(v, joined(inside, v.Of(last)))
			}
		case depth > 0:
			addMembers(e, last, v, earlier, m.Val, depth-1)
		}
	}
	e.Push(last, at, more)
}

// joined is an array with elements, joined by commas, before its own.
func joined(elements, list []byte) []byte {
	b := append([]byte{'['}, elements...)
	if own := bytes.TrimSpace(list[1 : len(list)-1]); len(own) > 0 {
		b = append(append(b, ','), own...)
	}
	return append(b, ']')
}

// addNumber is the sum of two JSON numbers; nil where it is the second, which then stays as it is written, or that is no number.
func addNumber(x, y []byte) []byte {
	n, isInt := ParseInt(x)
	if m, both := ParseInt(y); isInt && both {
		if n == 0 {
			return nil
		}
		return strconv.AppendInt(nil, AddInts(n, m), 10)
	}
	a, errA := strconv.ParseFloat(string(x), 64)
	b, errB := strconv.ParseFloat(string(y), 64)
	if sum := a + b; errA == nil && errB == nil && a != 0 && !math.IsInf(sum, 0) {
		return appendSum(nil, sum, x, y)
	}
	return nil
}

// maxDecimals bounds the digits behind the point of a sum.
const maxDecimals = 20

func appendSum(dst []byte, sum float64, x, y []byte) []byte {
	if bytes.ContainsAny(x, "eE") || bytes.ContainsAny(y, "eE") {
		return strconv.AppendFloat(dst, sum, 'g', -1, 64)
	}
	decimals := 0
	for _, raw := range [][]byte{x, y} {
		_, fraction, _ := bytes.Cut(raw, []byte{'.'})
		decimals = max(decimals, min(len(fraction), maxDecimals))
	}
	return strconv.AppendFloat(dst, sum, 'f', decimals, 64)
}

// FillNumbers returns the object last with the integers and the objects of earlier in it that it has not. Either may be empty or null.
func FillNumbers(earlier, last []byte) []byte {
	if !IsObject(last) {
		return earlier
	}
	if len(earlier) > maxSummed || len(last) > maxSummed {
		return last
	}
	place := index(last, Whole(last))
	var e Edits
	var more []byte
	for m := range Members(earlier, Whole(earlier)) {
		was := m.Val.Of(earlier)
		if _, isInt := ParseInt(was); !isInt && !IsObject(was) {
			continue
		}
		switch v, ok := place[string(m.Name)]; {
		case !ok:
			more = append(append(append(Separate(more), m.Key.Of(earlier)...), ':'), was...)
		case IsNull(v.Of(last)):
			e.Replace(v, was)
		}
	}
	e.Push(last, Whole(last), more)
	if e.None() {
		return last
	}
	return e.Apply(nil, last)
}

// index is where the values of an object's members stand, by their names; of a name that stands twice, the last.
func index(b []byte, at Span) map[string]Span {
	place := map[string]Span{}
	for m := range Members(b, at) {
		place[string(m.Name)] = m.Val
	}
	return place
}

// ParseInt is the value of a JSON number without fraction and exponent that fits.
func ParseInt(raw []byte) (int64, bool) {
	if len(raw) == 0 || len(raw) > 20 || raw[0] != '-' && (raw[0] < '0' || raw[0] > '9') {
		return 0, false
	}
	n, err := strconv.ParseInt(string(raw), 10, 64)
	return n, err == nil
}

// Int is the integer at the end of the path, 0 when there is none.
func Int(b []byte, at Span, path ...string) int64 {
	v, ok := Lookup(b, at, path...)
	if !ok {
		return 0
	}
	n, _ := ParseInt(v.Of(b))
	return n
}

// AddInts is x+y, or the nearest int64 where the sum is none.
func AddInts(x, y int64) int64 {
	switch {
	case x > 0 && y > math.MaxInt64-x:
		return math.MaxInt64
	case x < 0 && y < math.MinInt64-x:
		return math.MinInt64
	}
	return x + y
}
