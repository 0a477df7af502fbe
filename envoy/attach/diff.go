package attach

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// context is how many unchanged lines a diff shows around what changes.
const context = 3

// Diff is what changes, as patch takes it; each hunk says its reasons after its place. It is "" where nothing changes.
func (r *Result) Diff(name string) string {
	if bytes.Equal(r.before, r.Doc) {
		return ""
	}
	if r.again {
		return Unified(name, r.before, r.Doc)
	}
	var runs []run
	rest, line := linesOf(r.before), 1
	for _, e := range r.Edits {
		runs = appendRun(runs, run{mark: ' ', lines: rest[:e.Line-line]})
		rest = rest[e.Line-line:]
		old := linesOf([]byte(e.Old))
		runs = appendRun(runs, run{'-', old, e.Whys})
		runs = appendRun(runs, run{'+', linesOf([]byte(e.New)), e.Whys})
		rest, line = rest[len(old):], e.Line+len(old)
	}
	return printed(name, appendRun(runs, run{mark: ' ', lines: rest}))
}

// appendRun leaves out what has no lines.
func appendRun(runs []run, r run) []run {
	if len(r.lines) == 0 {
		return runs
	}
	return append(runs, r)
}

// run is a piece of a diff: lines that are in both texts, or in one.
type run struct {
	mark  byte // ' ', '-' or '+'
	lines []string
	whys  []string
}

// Unified is the diff of two texts, one of which came of the other by putting lines in or taking them out.
func Unified(name string, before, after []byte) string {
	old, now := linesOf(before), linesOf(after)
	var runs []run
	for len(old)+len(now) > 0 {
		same := 0
		for same < len(old) && same < len(now) && old[same] == now[same] {
			same++
		}
		runs = appendRun(runs, run{mark: ' ', lines: old[:same]})
		old, now = old[same:], now[same:]
		a, b := meet(old, now)
		runs = appendRun(runs, run{mark: '-', lines: old[:a]})
		runs = appendRun(runs, run{mark: '+', lines: now[:b]})
		old, now = old[a:], now[b:]
	}
	return printed(name, runs)
}

func linesOf(b []byte) (lines []string) {
	for line := range strings.Lines(string(b)) {
		lines = append(lines, line)
	}
	return lines
}

// sure is how many lines that are the same mean that two texts go on together.
const sure = 3

// meet is how many lines of each text stand before the two go on together: the fewest.
func meet(old, now []string) (a, b int) {
	const far = 4000 // lines: what is further apart is no edit
	at := map[string][]int{}
	for i := 0; i < len(old) && i < far; i++ {
		if key, ok := together(old, i); ok && len(at[key]) == 0 {
			at[key] = append(at[key], i)
		}
	}
	best := len(old) + len(now)
	a, b = len(old), len(now)
	for j := 0; j < len(now) && j < far && j < best; j++ {
		key, ok := together(now, j)
		if !ok {
			continue
		}
		for _, i := range at[key] {
			if i+j < best {
				best, a, b = i+j, i, j
			}
		}
	}
	return a, b
}

// together are the lines from i that must be the same: some, or the rest.
func together(lines []string, i int) (string, bool) {
	end := min(i+sure, len(lines))
	return strings.Join(lines[i:end], ""), end > i
}

// printed writes a diff in hunks.
func printed(name string, runs []run) string {
	var b strings.Builder
	fmt.Fprintf(&b, "--- %s\n+++ %s\n", name, name)
	i, j := 1, 1
	for n := 0; n < len(runs); {
		if runs[n].mark == ' ' {
			i, j = i+len(runs[n].lines), j+len(runs[n].lines)
			n++
			continue
		}
		end := n + 1 // the hunk ends before a long run of unchanged lines
		for end < len(runs) && (runs[end].mark != ' ' || len(runs[end].lines) <= 2*context && end+1 < len(runs)) {
			end++
		}
		var lead, tail []string
		if n > 0 {
			lead = runs[n-1].lines[max(0, len(runs[n-1].lines)-context):]
		}
		if end < len(runs) {
			tail = runs[end].lines[:min(context, len(runs[end].lines))]
		}
		hunk := slices.Concat([]run{{mark: ' ', lines: lead}}, runs[n:end], []run{{mark: ' ', lines: tail}})
		olds, news := printHunk(&b, hunk, i-len(lead), j-len(lead))
		i, j = i+olds-len(lead)-len(tail), j+news-len(lead)-len(tail)
		n = end
	}
	return b.String()
}

// printHunk writes a hunk that begins at these lines of the two texts, and returns how many of each it has.
func printHunk(b *strings.Builder, hunk []run, i, j int) (olds, news int) {
	var whys []string
	for _, r := range hunk {
		if r.mark != '+' {
			olds += len(r.lines)
		}
		if r.mark != '-' {
			news += len(r.lines)
		}
		for _, why := range r.whys {
			if !slices.Contains(whys, why) {
				whys = append(whys, why)
			}
		}
	}
	fmt.Fprintf(b, "@@ -%d,%d +%d,%d @@ %s\n", from(i, olds), olds, from(j, news), news, strings.Join(whys, " "))
	for _, r := range hunk {
		for _, line := range r.lines {
			b.WriteByte(r.mark)
			b.WriteString(line)
			if !strings.HasSuffix(line, "\n") {
				b.WriteString("\n\\ No newline at end of file\n")
			}
		}
	}
	return olds, news
}

// from is the line at which a hunk begins: that before it where it has none.
func from(line, lines int) int {
	if lines == 0 {
		return line - 1
	}
	return line
}
