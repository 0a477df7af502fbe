package page

import (
	"fmt"
	"html/template"
	"math"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// functions are what the templates write with.
var functions = template.FuncMap{
	"count": count, "bytes": byteSize, "took": took, "percent": percent, "when": when, "iso": iso, "short": short, "spark": spark, "tail": tail,
	"query": query, "build": func() string { return Build }, "views": func() []View { return Views }, "dollars": dollars, "stateClass": stateClass,
	"statusClass": statusClass, "curl": curl, "add": func(a, b int) int { return a + b }, "seconds": func(f float64) string { return took(f) },
}

// count writes a whole number in groups of three.
func count(n any) string {
	s := fmt.Sprint(n)
	for at := len(s) - 3; at > 0 && s[at-1] != '-'; at -= 3 {
		s = s[:at] + " " + s[at:]
	}
	return s
}

func byteSize(n int64) string {
	const step = 1024
	switch {
	case n < step:
		return strconv.FormatInt(n, 10) + " B"
	case n < step*step:
		return fmt.Sprintf("%.1f KiB", float64(n)/step)
	case n < step*step*step:
		return fmt.Sprintf("%.1f MiB", float64(n)/(step*step))
	}
	return fmt.Sprintf("%.1f GiB", float64(n)/(step*step*step))
}

// took writes a time in seconds.
func took(s float64) string {
	switch {
	case s <= 0:
		return "–"
	case s < 0.0995:
		return strconv.FormatFloat(s*1000, 'f', 1, 64) + " ms"
	case s < 0.9995:
		return strconv.FormatFloat(s*1000, 'f', 0, 64) + " ms"
	case s < 120:
		return strconv.FormatFloat(s, 'f', 1, 64) + " s"
	}
	return time.Duration(s * float64(time.Second)).Round(time.Second).String()
}

func percent(part, of int64) string {
	if of <= 0 {
		return "–"
	}
	return strconv.FormatFloat(math.Floor(float64(part)/float64(of)*1000)/10, 'f', 1, 64) + " %"
}

// when writes a time in UTC; the page's module writes it in the reader's zone.
func when(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }
func iso(t time.Time) string  { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// short cuts a text that others wrote to what a cell holds. The whole stands in its title.
func short(n int, s string) string {
	r := []rune(s)
	if len(r) <= n {
		return s
	}
	return string(r[:n-1]) + "…"
}

// tail is the end of an id.
func tail(s string) string { return s[max(0, len(s)-8):] }

// dollars writes an amount that is exact as one that is read: two digits, or as many as show something.
func dollars(exact string) string {
	f, err := strconv.ParseFloat(exact, 64)
	switch {
	case err != nil || f == 0:
		return "$0"
	case f < 0.0001:
		return "<$0.0001"
	case f < 1:
		return "$" + strings.TrimRight(strconv.FormatFloat(f, 'f', 4, 64), "0")
	}
	return "$" + strconv.FormatFloat(f, 'f', 2, 64)
}

func stateClass(state string) string {
	switch state {
	case "valid":
		return "ok"
	case "temporary":
		return "warn"
	case "permanent":
		return "bad"
	}
	return "off"
}

func statusClass(status int, class string) string {
	const firstError = 400
	if class != "" || status >= firstError || status == 0 {
		return "bad"
	}
	return "ok"
}

// query is a query string of pairs; what is empty is left out.
func query(pairs ...string) template.URL {
	q := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			q.Set(pairs[i], pairs[i+1])
		}
	}
	return template.URL(q.Encode()) //nolint:gosec // Encode escapes all that it is given
}

// curl is the command that gets the JSON twin.
func curl(f *Frame) string {
	token := ""
	if f.Token {
		token = ` -H "authorization: Bearer $KEYTURN_ADMIN_TOKEN"` //nolint:gosec // the name of a variable
	}
	return "curl -s" + token + " '" + f.Base + strings.ReplaceAll(f.Twin, "'", "%27") + "'"
}

// Size of a spark line: minutes of minuteWide each.
const (
	minuteWide = 2
	sparkHigh  = 24
)

// Spark is a spark line of an hour.
type Spark struct {
	Requests, Failures string // paths
	Most               uint32 // the tallest minute
}

// spark draws what came each minute.
func spark(requests, failures []uint32) Spark {
	var s Spark
	for i := range requests {
		s.Most = max(s.Most, requests[i], failures[i])
	}
	s.Requests, s.Failures = bars(requests, s.Most), bars(failures, s.Most)
	return s
}

func bars(counts []uint32, most uint32) string {
	var b strings.Builder
	for i, n := range counts {
		if n == 0 {
			continue
		}
		high := max(1, int(math.Round(float64(n)/float64(most)*sparkHigh)))
		fmt.Fprintf(&b, "M%d %dv-%dh%dv%dz", i*minuteWide, sparkHigh, high, minuteWide, high)
	}
	return b.String()
}
