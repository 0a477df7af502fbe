package dialect

import (
	"math"
	"strconv"
)

// This file adds up the usage of turns. Any dialect may use it.

// addNumbers returns the object last with the integers of earlier added to those that have the same place in it, however deep.
// What earlier alone has is appended; everything else of last, unknown members too, stays as it is. Either may be empty or null.
func addNumbers(earlier, last []byte) []byte {
	if !isObject(earlier) {
		return last
	}
	if !isObject(last) {
		return earlier
	}
	var e edits
	addMembers(&e, last, whole(last), earlier, whole(earlier))
	return e.apply(nil, last)
}

func isObject(b []byte) bool {
	i := skipSpace(b, 0)
	return i < len(b) && b[i] == '{'
}

func addMembers(e *edits, last []byte, at span, earlier []byte, from span) {
	for m := range members(earlier, from) {
		v, ok := lookup(last, at, string(m.name))
		was := m.val.of(earlier)
		switch {
		case !ok || isNull(v.of(last)):
			if _, isInt := integer(was); isInt || isObject(was) {
				e.set(last, at, string(m.name), was)
			}
		case isObject(was) && isObject(v.of(last)):
			addMembers(e, last, v, earlier, m.val)
		default:
			x, isInt := integer(was)
			y, alsoInt := integer(v.of(last))
			if isInt && alsoInt && x != 0 {
				e.replace(v, strconv.AppendInt(nil, plus(x, y), 10))
			}
		}
	}
}

// integer is the value of a JSON number without fraction and exponent that fits.
func integer(raw []byte) (int64, bool) {
	if len(raw) == 0 || len(raw) > 20 || raw[0] != '-' && (raw[0] < '0' || raw[0] > '9') {
		return 0, false
	}
	n, err := strconv.ParseInt(string(raw), 10, 64)
	return n, err == nil
}

// count is the integer at the end of the path, 0 when there is none.
func count(b []byte, at span, path ...string) int64 {
	v, ok := lookup(b, at, path...)
	if !ok {
		return 0
	}
	n, _ := integer(v.of(b))
	return n
}

// plus adds without running over.
func plus(x, y int64) int64 {
	switch {
	case x > 0 && y > math.MaxInt64-x:
		return math.MaxInt64
	case x < 0 && y < math.MinInt64-x:
		return math.MinInt64
	}
	return x + y
}
