package record

import (
	"strings"
	"time"
	"unicode/utf8"
	"unsafe"
)

// Bounds of what a Turn and a Content hold. Longer text is cut, and what is too much is left out and counted in Turn.Cut.
const (
	MaxName     = 256 // bytes of an id, a name, a model, a path or a user agent
	MaxClass    = 64  // bytes of a class, an outcome, a method or a dialect
	MaxAttempts = 256
	MaxCalls    = 1024
	MaxText     = 64 << 10 // bytes of a Content's text
	MaxSaid     = 256      // pieces of Content of one turn
)

// Bound brings what came from elsewhere into the form that every store takes: times in UTC and whole microseconds, text that is UTF-8 without NUL,
// nothing longer than its bound, no number below 0.
func (t *Turn) Bound() {
	t.Start, t.End = instant(t.Start), instant(t.End)
	if t.End.Before(t.Start) {
		t.End = t.Start
	}
	for _, s := range []*string{
		&t.ID, &t.Client, &t.Session, &t.UserAgent, &t.Pool, &t.Provider, &t.Path, &t.Asked, &t.Answered, &t.Key, &t.Tier,
	} {
		*s = clean(*s, MaxName)
	}
	for _, s := range []*string{&t.Dialect, &t.Method, &t.ErrorClass, &t.TraceID, &t.SpanID} {
		*s = clean(*s, MaxClass)
	}
	t.Status = within(t.Status, 999)
	for _, n := range []*int64{(*int64)(&t.FirstByte), (*int64)(&t.Overhead), &t.BytesIn, &t.BytesOut, &t.Price.Nano, &t.Price.Unpriced} {
		*n = max(0, *n)
	}
	t.Turns, t.Cut = within(t.Turns, 1<<20), within(t.Cut, 1<<20)
	if over := len(t.Attempts) - MaxAttempts; over > 0 {
		t.Attempts, t.Cut = t.Attempts[:MaxAttempts], t.Cut+over
	}
	if over := len(t.Calls) - MaxCalls; over > 0 {
		t.Calls, t.Cut = t.Calls[:MaxCalls], t.Cut+over
	}
	for i := range t.Attempts {
		t.Attempts[i].bound()
	}
	for i := range t.Calls {
		t.Calls[i].bound()
	}
	t.Usage.bound()
}

func (a *Attempt) bound() {
	for _, s := range []*string{&a.Pool, &a.Key, &a.Hint, &a.Model} {
		*s = clean(*s, MaxName)
	}
	a.Class, a.Outcome = clean(a.Class, MaxClass), clean(a.Outcome, MaxClass)
	a.Number, a.Turn, a.Status = within(a.Number, 1<<20), within(a.Turn, 1<<20), within(a.Status, 999)
	a.Duration, a.Wait = max(0, a.Duration), max(0, a.Wait)
	a.Usage.bound()
}

func (c *Call) bound() {
	for _, s := range []*string{&c.ID, &c.Server, &c.Tool} {
		*s = clean(*s, MaxName)
	}
	c.Outcome, c.Turn, c.Duration = clean(c.Outcome, MaxClass), within(c.Turn, 1<<20), max(0, c.Duration)
}

// maxTokens bounds the tokens of one usage: far above what there is, and far below what a sum of them can hold.
const maxTokens = 1 << 40

func (u *Usage) bound() {
	for _, n := range []*int64{&u.Input, &u.CacheRead, &u.CacheWrite, &u.Output, &u.Reasoning} {
		*n = min(max(0, *n), maxTokens)
	}
}

// Bound does for c what Turn.Bound does for a turn.
func (c *Content) Bound() {
	c.ID, c.Call = clean(c.ID, MaxName), clean(c.Call, MaxName)
	c.Cut = c.Cut || len(c.Text) > MaxText
	c.Text = clean(c.Text, MaxText)
	c.Turn, c.At = within(c.Turn, 1<<20), instant(c.At)
}

// instant is t as every store keeps it: in UTC and whole microseconds, and within what a database's calendar has.
func instant(t time.Time) time.Time {
	t = t.UTC().Truncate(time.Microsecond)
	if y := t.Year(); y < 1970 || y > 9999 {
		return time.Unix(0, 0).UTC()
	}
	return t
}

func within(n, most int) int { return min(max(n, 0), most) }

// clean returns s as UTF-8 without NUL, which no database takes, and of at most limit bytes. It keeps no more of a longer text's memory alive
// than that.
func clean(s string, limit int) string {
	long := len(s) > limit
	if long {
		s = s[:limit]
		for cut := limit; cut > limit-utf8.UTFMax; cut-- { // a rune that the cut goes through
			if r, n := utf8.DecodeLastRuneInString(s[:cut]); r != utf8.RuneError || n > 1 {
				s = s[:cut]
				break
			}
		}
	}
	if !utf8.ValidString(s) || strings.IndexByte(s, 0) >= 0 {
		s = strings.ReplaceAll(strings.ToValidUTF8(s, "?"), "\x00", "?")
	}
	if long {
		s = strings.Clone(s)
	}
	return s
}

// Possible says whether s can be the value of a field of a turn.
func Possible(s string) bool {
	return len(s) <= MaxName && utf8.ValidString(s) && strings.IndexByte(s, 0) < 0
}

// size is about how many bytes of memory t holds.
func (t *Turn) size() int {
	n := int(unsafe.Sizeof(*t)) + len(t.ID) + len(t.Client) + len(t.Session) + len(t.UserAgent) + len(t.Pool) + len(t.Provider) + len(t.Path) +
		len(t.Asked) + len(t.Answered) + len(t.TraceID) + len(t.SpanID) + len(t.Key)
	for i := range t.Attempts {
		a := &t.Attempts[i]
		n += int(unsafe.Sizeof(*a)) + len(a.Pool) + len(a.Key) + len(a.Hint) + len(a.Model)
	}
	for i := range t.Calls {
		c := &t.Calls[i]
		n += int(unsafe.Sizeof(*c)) + len(c.ID) + len(c.Server) + len(c.Tool)
	}
	return n
}

// size is about how many bytes of memory c holds.
func (c *Content) size() int { return int(unsafe.Sizeof(*c)) + len(c.Text) + len(c.Call) }

func sizeOf(said []Content) (n int) {
	for i := range said {
		n += said[i].size()
	}
	return n
}
