package rawjson

import (
	"math"
	"strconv"
)

// AddNumbers returns the object last with the integers of earlier added to those that have the same place in it, however deep.
// What earlier alone has is appended; everything else of last, unknown members too, stays as it is. Either may be empty or null.
func AddNumbers(earlier, last []byte) []byte {
	if !IsObject(earlier) {
		return last
	}
	if !IsObject(last) {
		return earlier
	}
	var e Edits
	addMembers(&e, last, Whole(last), earlier, Whole(earlier))
	return e.Apply(nil, last)
}

func addMembers(e *Edits, last []byte, at Span, earlier []byte, from Span) {
	for m := range Members(earlier, from) {
		v, ok := Lookup(last, at, string(m.Name))
		was := m.Val.Of(earlier)
		switch {
		case !ok || IsNull(v.Of(last)):
			if _, isInt := ParseInt(was); isInt || IsObject(was) {
				e.Set(last, at, string(m.Name), was)
			}
		case IsObject(was) && IsObject(v.Of(last)):
			addMembers(e, last, v, earlier, m.Val)
		default:
			x, isInt := ParseInt(was)
			y, alsoInt := ParseInt(v.Of(last))
			if isInt && alsoInt && x != 0 {
				e.Replace(v, strconv.AppendInt(nil, AddInts(x, y), 10))
			}
		}
	}
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
