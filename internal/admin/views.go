package admin

import (
	"cmp"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/keyturn/keyturn/internal/page"
	"github.com/keyturn/keyturn/internal/record"
	"github.com/keyturn/keyturn/keypool"
)

func equal(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// find returns a key, and nil where there is none.
func (h *handler) find(pool, name string) (*keypool.Pool, *keypool.Key) {
	for _, p := range h.Pools() {
		if p.Name() == pool {
			if k, ok := p.Key(name); ok {
				return p, k
			}
		}
	}
	return nil, nil
}

// lastUsable says whether no other key of the pool can be used now.
func lastUsable(p *keypool.Pool, name string) bool {
	usable := false
	for _, s := range p.Snapshot() {
		if s.State == keypool.Valid && s.Name != name {
			return false
		}
		usable = usable || s.State == keypool.Valid && s.Name == name
	}
	return usable
}

// shownKeys is how many keys of a pool are shown unless somebody asks for all; those in trouble always are.
const shownKeys = 100

type (
	poolsPage struct {
		Pools   []poolPage
		Total   int // keys
		Trouble int // keys that cannot be used
	}
	poolPage struct {
		poolView
		Anchor string
		Remedy string
		Shown  []keyView
		Hidden int
	}
)

func (h *handler) poolsPage(r *http.Request) *page.Frame {
	f := h.frame(r, "pools", "Pools", "/api/v1/pools")
	all := r.URL.Query().Get("all")
	remedies := map[string]string{}
	for _, p := range h.Pools() {
		if none := wait(p); none != nil {
			remedies[p.Name()] = shortRemedy(none)
		}
	}
	data := poolsPage{}
	for _, v := range h.poolsView(r) {
		p := poolPage{poolView: v, Anchor: anchor(v.Name), Remedy: remedies[v.Name]}
		data.Total += len(v.Keys)
		for i := range v.Keys {
			k := v.Keys[i]
			usable := k.State == "valid" && len(k.Models) == 0
			if k.State != "valid" {
				data.Trouble++
			}
			if len(p.Shown) < shownKeys || !usable || all == v.Name {
				p.Shown = append(p.Shown, k)
			} else {
				p.Hidden++
			}
		}
		data.Pools = append(data.Pools, p)
	}
	slices.SortStableFunc(data.Pools, func(a, b poolPage) int { return cmp.Compare(a.trouble(), b.trouble()) })
	f.Data = data
	return f
}

// trouble is the place of a pool: first those that serve nobody, then those that lack keys.
func (p *poolPage) trouble() int {
	switch {
	case !p.Ready:
		return 0
	case slices.ContainsFunc(p.Keys, func(k keyView) bool { return k.State != "valid" && k.State != "disabled" }):
		return 1
	}
	return 2
}

// anchor is a pool's name as the id of an element.
func anchor(name string) string { return url.QueryEscape(name) }

// shortRemedy is remedy without times, which the keys' rows count down.
func shortRemedy(e *keypool.Error) string {
	switch {
	case e.Kind == keypool.AllDisabled:
		return "Every key is disabled: enable one"
	case e.Kind == keypool.AuthFailed:
		return "The provider refused every key: replace them, or reset one to try it now"
	case e.Reason == keypool.Quota:
		return "No key has credit: raise the limit with the provider, or add a key"
	}
	return "Every key rests: wait, or add a key"
}

func (h *handler) toolsPage(r *http.Request) *page.Frame {
	f := h.frame(r, "tools", "Tools", "/api/v1/tools")
	f.Data = toolsView{}
	if h.Tools != nil {
		f.Data = h.toolsView()
	}
	return f
}

// turnsQuestion reads the query of the page's form, whose empty fields select all.
func turnsQuestion(r *http.Request) (record.Query, bool, error) {
	u := *r.URL
	q := u.Query()
	q.Del("did")
	for name, of := range q {
		if len(of) == 1 && of[0] == "" {
			q.Del(name)
		}
	}
	u.RawQuery = q.Encode()
	clean := r.Clone(r.Context())
	clean.URL = &u
	return question(clean)
}

type (
	turnsPage struct {
		Fields            []filter
		Failed, WithTools bool
		Problem           string
		Turns             []Turn
		Filtered          bool
		After             bool // it is a later page
		First, Next       string
	}
	filter struct{ Name, Label, Value, Hint string }
)

func (h *handler) turnsPage(r *http.Request) *page.Frame {
	f := h.frame(r, "turns", "Turns", "/api/v1/turns")
	values := r.URL.Query()
	data := turnsPage{Failed: values.Get("failed") == "true", WithTools: values.Get("tools") == "true", After: values.Get("after") != ""}
	for _, x := range []filter{
		{"client", "Client", "", ""},
		{"session", "Session", "", ""},
		{"pool", "Pool", "", ""},
		{"key", "Key", "", ""},
		{"model", "Model", "", ""},
		{"status", "Status", "", "200, or 5 for 5xx"},
		{"error_class", "Error class", "", ""},
		{"from", "From", "", "24h"},
		{"until", "Until", "", "now"},
	} {
		x.Value = values.Get(x.Name)
		data.Filtered = data.Filtered || x.Value != ""
		data.Fields = append(data.Fields, x)
	}
	data.Filtered = data.Filtered || data.Failed || data.WithTools
	if data.After || values.Get("until") != "" {
		f.Here = "" // what is new does not belong there
	}
	q, _, err := turnsQuestion(r)
	switch {
	case h.Records == nil:
		data.Problem = "Nothing is recorded: keyturn.yaml says record: off."
		f.Here = ""
	case err != nil:
		data.Problem = "That cannot be searched for: " + err.Error() + "."
		f.Here = ""
	default:
		found, err := h.Records.Reader.Turns(r.Context(), q)
		if err != nil {
			data.Problem = h.whyUnreadable(r, err)
		}
		for i := range found.Turns {
			data.Turns = append(data.Turns, viewTurn(&found.Turns[i]))
		}
		if found.Next != "" {
			values.Set("after", found.Next)
			data.Next = withQuery("/turns", values)
		}
		values.Del("after")
		data.First = withQuery("/turns", values)
	}
	f.Data = data
	return f
}

type (
	turnPage struct {
		Turn
		Steps    []step
		FirstAt  string // of the width, in percent; "": there was no first byte
		TraceURL string
		Text     string
	}
	// step is a bar of the waterfall.
	step struct {
		Kind, What, Who, Beside string
		Start, Duration         float64
		Left, Wide              string // of the width, in percent
		Status                  int
		Bad                     bool
		Outcome, Class          string
		Wait                    float64
		Usage                   *Usage
	}
)

func (h *handler) turnPage(w http.ResponseWriter, r *http.Request) {
	if h.Records == nil {
		h.problem(w, r, http.StatusNotFound, "Not found", "Nothing is recorded: keyturn.yaml says record: off.")
		return
	}
	v, err := h.wholeTurn(r, r.PathValue("id"))
	switch {
	case errors.Is(err, record.ErrNotFound):
		h.problem(w, r, http.StatusNotFound, "Not found", "There is no such turn: it is not over yet, or is no longer kept.")
		return
	case err != nil:
		h.problem(w, r, http.StatusServiceUnavailable, "Not now", h.whyUnreadable(r, err))
		return
	}
	f := h.frame(r, "turn", "Turn", "/api/v1/turns/"+url.PathEscape(v.ID))
	p := turnPage{Turn: v, Steps: steps(&v), Text: trailText(&v)}
	if v.FirstByte > 0 && v.Duration > 0 {
		p.FirstAt = part(v.FirstByte, v.Duration)
	}
	if h.TraceURL != "" && v.TraceID != "" {
		p.TraceURL = strings.ReplaceAll(h.TraceURL, "{trace_id}", url.PathEscape(v.TraceID))
	}
	f.Data = p
	h.show(w, http.StatusOK, f)
}

// part is how much x is of whole, in percent within 0 and 100.
func part(x, whole float64) string {
	const all = 100
	if whole <= 0 {
		return "0"
	}
	return fmt.Sprintf("%.2f", min(all, max(0, x/whole*all)))
}

// steps are the bars of a turn's waterfall, in the order in which they began.
func steps(t *Turn) []step {
	var all []step
	for i := range t.Attempts {
		a := &t.Attempts[i]
		s := step{
			Kind: "b-ok", What: fmt.Sprintf("Turn %d, attempt %d:", a.Turn, a.Number), Who: a.Key, Start: a.Start, Duration: a.Duration,
			Status: a.Status, Outcome: a.Outcome, Class: a.Class, Wait: a.Wait, Usage: a.Usage, Bad: a.Outcome != "ok",
		}
		if a.Pool != t.Pool || a.Key == "" {
			s.Beside = a.Pool
		}
		if s.Bad {
			s.Kind = "b-bad"
		}
		all = append(all, s)
	}
	for i := range t.Calls {
		c := &t.Calls[i]
		all = append(all, step{
			Kind: "b-call", What: fmt.Sprintf("Turn %d, tool", c.Turn), Who: c.Tool, Beside: c.Server, Start: c.Start, Duration: c.Duration, Outcome: c.Outcome,
		})
	}
	slices.SortStableFunc(all, func(a, b step) int { return cmp.Compare(a.Start, b.Start) })
	whole := t.Duration
	for i := range all {
		whole = max(whole, all[i].Start+all[i].Duration)
	}
	for i := range all {
		all[i].Left = part(all[i].Start, whole)
		all[i].Wide = part(max(all[i].Duration, whole/200), whole)
	}
	return all
}

// trailText is a turn as text, for a ticket.
func trailText(t *Turn) string {
	var b strings.Builder
	fmt.Fprintf(&b, "turn %s\n%s  %s %s  pool %s  client %s  model %s\n", t.ID, t.Start.Format(time.RFC3339Nano), t.Method, t.Path, or(t.Pool), or(t.Client), or(cmp.Or(t.Answered, t.Asked)))
	fmt.Fprintf(&b, "status %d %s  %s  first byte %.3f s  took %.3f s\n", t.Status, t.ErrorClass, t.Ending, t.FirstByte, t.Duration)
	for _, s := range steps(t) {
		fmt.Fprintf(&b, "  +%8.3f s  %8.3f s  %s %s", s.Start, s.Duration, s.What, or(s.Who))
		if s.Beside != "" {
			b.WriteString(" (" + s.Beside + ")")
		}
		b.WriteString("  " + s.Outcome)
		if s.Status != 0 {
			fmt.Fprintf(&b, " %d", s.Status)
		}
		if s.Class != "" {
			b.WriteString(" " + s.Class)
		}
		if s.Wait > 0 {
			fmt.Fprintf(&b, ", the key rests for %g s", s.Wait)
		}
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "tokens %d in (%d cached), %d out, %s", t.Usage.Input, t.Usage.CacheRead, t.Usage.Output, t.Usage.State)
	if t.Price != nil {
		b.WriteString("  $" + t.Price.USD)
	}
	return b.String() + "\n"
}

func or(s string) string { return cmp.Or(s, "-") }
