package config

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// problem is one thing that is wrong, or worth a warning, at one place.
type problem struct {
	file string // the file to open
	line int    // its line; zero: the file as a whole
	from int    // the line of the configuration that led there, by which problems are sorted
	path string // as in "pools[0].keys[1]"; empty: the file as a whole
	text string // what was found; what to write instead
}

func (p problem) Error() string {
	var b strings.Builder
	b.WriteString(p.file)
	if p.line > 0 {
		fmt.Fprintf(&b, ":%d", p.line)
	}
	if p.path != "" {
		b.WriteString(": " + p.path)
	}
	return b.String() + ": " + p.text
}

// inOrder sorts as an operator walks through the file, and drops what an anchor that is used twice said twice.
func inOrder(ps []problem) []problem {
	slices.SortStableFunc(ps, func(a, b problem) int {
		return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.line, b.line))
	})
	return slices.Compact(ps)
}

func join(ps []problem) error {
	errs := make([]error, 0, len(ps))
	for _, p := range inOrder(ps) {
		errs = append(errs, p)
	}
	return errors.Join(errs...)
}

// What a message may repeat. A key that was put where its name belongs must not reach a log, so whatever looks like one is not shown.
var (
	secretStart = regexp.MustCompile(`(?i)^(bearer\s|basic\s|[sprc]{1,2}k[-_]|gsk_|xai-|aiza|gh[pousr]_|github_pat_|eyj|hf_|nvapi-|fw_|pplx-|tgp_|r8_|xox[a-z]-|akia)`)
	secretRun   = regexp.MustCompile(`[A-Za-z0-9]{20,}`)
	secretUUID  = regexp.MustCompile(`(?i)[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)
	plainWord   = regexp.MustCompile(`^[a-z][a-z_]{0,23}$`)
	envName     = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	plainEnv    = regexp.MustCompile(`^[A-Z_][A-Z0-9_]*$`)
)

const (
	digits = "0123456789"
	lower  = "abcdefghijklmnopqrstuvwxyz"
	upper  = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
)

func looksSecret(s string) bool {
	s = strings.TrimSpace(s)
	if secretStart.MatchString(s) || secretUUID.MatchString(s) {
		return true
	}
	if run := secretRun.FindString(s); len(run) >= 32 || run != "" && strings.ContainsAny(run, digits) && strings.ContainsAny(run, lower+upper) {
		return true
	}
	return len(s) >= 32 && !strings.ContainsAny(s, "/ \t\n") &&
		strings.ContainsAny(s, digits) && strings.ContainsAny(s, lower) && strings.ContainsAny(s, upper)
}

// shown quotes s for a message, cut to a readable length.
func shown(s string) string {
	const maxRunes = 60
	if looksSecret(s) {
		return "something that looks like a secret (not shown)"
	}
	if utf8.RuneCountInString(s) > maxRunes {
		s = string([]rune(s)[:maxRunes]) + "…"
	}
	return fmt.Sprintf("%q", s)
}

// shownPath is shown for a path: a bare word could as well be a key in the wrong place.
func shownPath(written, full string) string {
	if looksSecret(written) || !strings.ContainsAny(written, "/.") {
		return "the file named here"
	}
	return full
}

// nearest returns the name closest to s, if one is close enough to be what was meant.
func nearest(s string, names []string) (string, bool) {
	plain := strings.NewReplacer("_", "", "-", "", " ", "")
	fold := func(s string) string { return strings.ToLower(plain.Replace(s)) }
	best, least := "", 1+min(2, len(s)/3)
	for _, n := range names {
		if fold(n) == fold(s) {
			return n, true
		}
		if d := distance(fold(s), fold(n)); d < least {
			best, least = n, d
		}
	}
	return best, best != ""
}

// distance counts the letters to put in, take out, change or swap with a neighbour.
func distance(a, b string) int {
	const most = 64 // no name is longer: what is far away needs no number
	if len(a) > most || len(b) > most {
		return most
	}
	d := make([][]int, len(a)+1)
	for i := range d {
		d[i] = make([]int, len(b)+1)
		d[i][0] = i
	}
	for j := range d[0] {
		d[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			change := d[i-1][j-1]
			if a[i-1] != b[j-1] {
				change++
			}
			d[i][j] = min(change, d[i-1][j]+1, d[i][j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d[i][j] = min(d[i][j], d[i-2][j-2]+1)
			}
		}
	}
	return d[len(a)][len(b)]
}

// either lists alternatives as in "a, b or c", and listed all as in "a, b and c".
func either(names []string) string { return joined(names, " or ") }
func listed(names []string) string { return joined(names, " and ") }

func joined(names []string, word string) string {
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + word + names[last]
}
