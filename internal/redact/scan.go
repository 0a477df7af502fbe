package redact

// What escapes may have, in bytes. Longer ones are read as what they look like.
const (
	maxBackslashes = 8    // of one escape, which may have been escaped again
	maxPercents    = 4    // times that a percent sign was escaped again
	maxSkipped     = 16   // line ends within a secret, and backslashes
	lead, tail     = 2, 3 // characters of base64 before and after a form that may hold bits of the secret
)

// span is where a secret stands, by offsets in the stream.
type span struct{ from, to int64 }

// scanner reads a stream twice at once: as it is, and with its escapes decoded. Both ways are read by the same automaton.
type scanner struct {
	set   *Set
	lines bool // the ends of lines may stand within a secret

	raw, plain int32   // what has been read of a form: as it stands there, and decoded
	starts     []int64 // a ring: where the last decoded bytes stand in the stream
	decoded    int     // how many there were
	skipped    int     // bytes that stand for none, since the last one that does
	escaped    int     // of these, the backslashes right before the next
	tail       int     // bytes that still belong to a base64 form
	spans      []span
}

func newScanner(s *Set, lines bool) *scanner {
	return &scanner{set: s, lines: lines, starts: make([]int64, s.longest)}
}

// scan reads b, which stands at base, and returns how many bytes of it were read: all but the beginning of an escape, unless
// final says that nothing follows.
func (c *scanner) scan(b []byte, base int64, final bool) int {
	i := 0
	for i < len(b) {
		n, value, stands, whole := c.token(b[i:])
		if !whole && !final {
			break
		}
		for j := i; j < i+n; j++ {
			c.read(b, j, base)
		}
		c.decode(value, stands, base+int64(i), base+int64(i+n), b, base)
		i += n
	}
	return i
}

// read takes a byte as it is.
func (c *scanner) read(b []byte, j int, base int64) {
	if c.tail > 0 {
		if c.tail--; inBase64(b[j]) {
			c.note(span{base + int64(j), base + int64(j) + 1}, false, b, base)
		} else {
			c.tail = 0
		}
	}
	c.raw = c.set.step(c.raw, b[j])
	if n := &c.set.nodes[c.raw]; n.found > 0 {
		c.note(span{base + int64(j) + 1 - int64(n.found), base + int64(j) + 1}, n.base64, b, base)
	}
}

// decode takes what an escape, or a byte alone, stands for.
func (c *scanner) decode(value byte, stands bool, from, to int64, b []byte, base int64) {
	if !stands {
		if c.escaped = 0; value == '\\' {
			c.escaped = int(to - from)
		}
		if c.skipped += int(to - from); c.skipped > maxSkipped {
			c.plain = 0
		}
		return
	}
	c.starts[c.decoded%len(c.starts)] = from - int64(c.escaped) // what escapes it goes with it
	c.skipped, c.escaped = 0, 0
	c.decoded++
	c.plain = c.set.step(c.plain, value)
	if n := &c.set.nodes[c.plain]; n.found > 0 {
		c.note(span{c.starts[(c.decoded-int(n.found))%len(c.starts)], to}, n.base64, b, base)
	}
}

// note keeps a span, with what of base64 stands before it in b and may stand behind it.
func (c *scanner) note(at span, base64 bool, b []byte, base int64) {
	if base64 {
		for n := 0; n < lead && at.from > base && inBase64(b[at.from-1-base]); n++ {
			at.from--
		}
		c.tail = tail
	}
	n := len(c.spans)
	for ; n > 0 && at.from <= c.spans[n-1].to; n-- {
		at.from, at.to = min(at.from, c.spans[n-1].from), max(at.to, c.spans[n-1].to)
	}
	c.spans = append(c.spans[:n], at)
}

// begun is where in b, which stands at base, something begins that may become a secret, when read bytes of it have been; at least least bytes
// of a secret have been seen.
func (c *scanner) begun(b []byte, base int64, read, least int) int {
	at := base + int64(read)
	if d := c.set.nodes[c.raw].open; int(d) >= least && d > 0 {
		at = base + int64(read) - int64(d)
	}
	if d := int(c.set.nodes[c.plain].open); d >= least && d > 0 {
		at = min(at, c.starts[(c.decoded-d)%len(c.starts)])
	}
	from := max(0, int(at-base))
	for n := 0; n < lead && from < read && from > 0 && inBase64(b[from-1]); n++ {
		from--
	}
	return from
}

// token is the first byte or escape of b: its length, what it stands for, if anything, and whether it is whole.
func (c *scanner) token(b []byte) (n int, value byte, stands, whole bool) {
	switch b[0] {
	case '\\', '%':
		read := percent
		if b[0] == '\\' {
			read = escape
		}
		n, value, stands, whole = read(b)
		return n, value, stands && value != '\\', whole // backslashes never stand for themselves: one may be the escape of another
	case '\r', '\n':
		return 1, b[0], !c.lines, true
	}
	return 1, b[0], true, true
}

// escape reads backslashes and what they escape: \xHH, \uHHHH, \OOO and anything else, which stands for itself. Each layer of JSON or of C around
// a text doubles the backslashes.
func escape(b []byte) (n int, value byte, stands, whole bool) {
	k := 1
	for k < len(b) && k < maxBackslashes && b[k] == '\\' {
		k++
	}
	if k == len(b) {
		return k, '\\', false, false
	}
	digits, base, from := 0, 16, k+1
	switch {
	case b[k] == 'x':
		digits = 2
	case b[k] == 'u':
		digits = 4
	case b[k] >= '0' && b[k] <= '3':
		digits, base, from = 3, 8, k
	default:
		return k, '\\', false, true
	}
	v, read := number(b[from:], digits, base)
	switch {
	case read == digits:
		return from + digits, byte(min(v, 0xff)), true, true
	case from+read == len(b):
		return k, '\\', false, false
	}
	return k, '\\', false, true
}

// percent reads %HH, whose percent sign may have been escaped again.
func percent(b []byte) (n int, value byte, stands, whole bool) {
	from := 1
	for range maxPercents {
		if _, read := number(b[from:], 4, 16); read < 4 || b[from] != '2' || b[from+1] != '5' {
			break
		}
		from += 2
	}
	v, read := number(b[from:], 2, 16)
	// Four more digits could make this sign one that was escaped.
	_, four := number(b[from:], 4, 16)
	open := from+four == len(b) && (read < 2 || v == '%')
	if read < 2 {
		return 1, '%', true, !open
	}
	return from + 2, byte(v), true, !open
}

// number reads at most digits of a number, and says how many there are.
func number(b []byte, digits, base int) (v, read int) {
	for read < digits && read < len(b) {
		d := digit(b[read])
		if d >= base {
			break
		}
		v = v*base + d
		read++
	}
	return v, read
}

func digit(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return 99
}

func inBase64(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '+' || c == '/' || c == '-' || c == '_' || c == '='
}

// canonical is a text without its escapes.
func canonical(s string) string {
	b, out := []byte(s), make([]byte, 0, len(s))
	c := scanner{}
	for len(b) > 0 {
		n, value, stands, _ := c.token(b)
		if stands {
			out = append(out, value)
		}
		b = b[n:]
	}
	return string(out)
}
