package sse

import "bytes"

// write takes p apart. A block that earlier calls began is finished in held, those that p holds whole are read where they are, and what is left is
// held.
func (d *Decoder) write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	pos := 0
	if d.afterCR && p[0] == '\n' {
		pos = 1
		if len(d.held) > 0 {
			d.held = append(d.held, '\n')
			d.line = len(d.held)
		} else if err := d.send(p[:1:1], &emptyBlock, false); err != nil {
			return pos, err
		}
	}
	d.afterCR = p[len(p)-1] == '\r'
	lines := cutter{p: p, lf: -1, cr: -1}
	if len(d.held) > 0 || !d.begun {
		next, err := d.finish(&lines, pos)
		if err != nil || next == len(p) {
			return next, err
		}
		pos = next
	}
	return d.whole(&lines, pos)
}

// finish copies lines from pos on to what is held, until they end the block, and returns where the next one starts. The first block of a stream is
// read so in any case, since it may begin with a byte order mark.
func (d *Decoder) finish(lines *cutter, pos int) (int, error) {
	for {
		end, next := lines.cut(pos)
		found := next > 0
		if !found {
			end, next = len(lines.p), len(lines.p)
		}
		ended := len(d.held) + end - pos
		size := ended
		if found {
			size++
		}
		if err := d.limits.check(d.line, ended, size); err != nil {
			return pos, err
		}
		d.held = append(d.held, lines.p[pos:next]...)
		if !found {
			return next, nil
		}
		pos = next
		if start := d.lineStart(); start < ended {
			d.field(&d.open, d.held, start, ended)
			d.line = len(d.held)
			continue
		}
		raw := d.held
		d.held, d.line, d.begun = raw[:0], 0, true
		return pos, d.send(raw, &d.open, false)
	}
}

// lineStart is where in held the open line's field starts: after the byte order mark, if the line is the first of the stream.
func (d *Decoder) lineStart() int {
	if !d.begun && d.line == 0 && bytes.HasPrefix(d.held, bom) {
		return len(bom)
	}
	return d.line
}

// whole reads the blocks that lie in the chunk from pos on without copying them, and holds the begin of the last.
func (d *Decoder) whole(lines *cutter, pos int) (int, error) {
	p, start, b := lines.p, pos, emptyBlock
	for {
		end, next := lines.cut(pos)
		if next == 0 {
			break
		}
		if end-start >= d.limits.EventBytes || end-pos > d.limits.LineBytes {
			return start, d.limits.check(pos-start, end-start, end+1-start)
		}
		if end > pos {
			d.field(&b, p[start:next], pos-start, end-start)
			pos = next
			continue
		}
		if err := d.send(p[start:next:next], &b, false); err != nil {
			return next, err
		}
		pos, start, b = next, next, emptyBlock
	}
	if start == len(p) {
		return start, nil
	}
	if err := d.limits.check(pos-start, len(p)-start, len(p)-start); err != nil {
		return start, err
	}
	d.held = append(d.held, p[start:]...)
	d.line, d.open = pos-start, b
	return len(p), nil
}

// cutter finds the ends of the lines of a chunk. Each byte is looked at once for each of the two line ends, whichever of them the stream uses.
type cutter struct {
	p      []byte
	lf, cr int // the first of each that is not before the line's start, len(p) when there is none; less: not looked for yet
}

// cut returns where the line that starts at pos ends, and where the next one starts; 0 when it does not end in the chunk.
func (c *cutter) cut(pos int) (end, next int) {
	if c.lf < pos {
		c.lf = index(c.p, pos, '\n')
	}
	if c.cr < pos {
		c.cr = index(c.p, pos, '\r')
	}
	switch {
	case c.lf < c.cr:
		return c.lf, c.lf + 1
	case c.cr == len(c.p):
		return 0, 0
	case c.lf == c.cr+1 && c.lf < len(c.p):
		return c.cr, c.cr + 2
	}
	return c.cr, c.cr + 1
}

// index is the position of the first c in p from pos on, len(p) when there is none.
func index(p []byte, pos int, c byte) int {
	if pos < len(p) && p[pos] == c { // an empty line, as every event has one
		return pos
	}
	if i := bytes.IndexByte(p[pos:], c); i >= 0 {
		return pos + i
	}
	return len(p)
}
