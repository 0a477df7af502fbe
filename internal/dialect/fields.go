package dialect

import "unicode/utf8"

// readFields finds the members of a request that matter, each of them where named says; named returns nil for the others. It returns
// false for anything but one JSON object in UTF-8 in which each of them stands once: parsers do not agree which of two counts, so
// such a request is none of Keyturn's business. A member that is null is as if it were not there.
func readFields(b []byte, named func(name string) *span) bool {
	seen := map[*span]bool{}
	twice := false
	ok := walk(b, func(name, val span) {
		at := named(unquote(b[name.start-1 : name.end+1]))
		if at == nil {
			return
		}
		twice = twice || seen[at]
		seen[at] = true
		if !isNull(val.of(b)) {
			*at = val
		}
	})
	return ok && !twice && utf8.Valid(b)
}
