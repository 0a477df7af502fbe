package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/keyturn/keyturn/internal/record"
)

// Records is what was recorded of requests.
type Records struct {
	// Reader answers questions.
	Reader record.Reader
	// Follow tells of turns as they come.
	Follow func(record.Query) *record.Following
	// Losses are what was not recorded. Nil: nothing is lost.
	Losses func() record.Losses
}

// Limits of those who follow.
const (
	maxFollowing = 32
	keepAlive    = 15 * time.Second
	writeTime    = 10 * time.Second // for one event, to a reader that is slow
)

// parameters reads those of a question. The first that is wrong is the error.
type parameters struct {
	of  url.Values
	err error
}

// instant reads a time: RFC 3339, or how long ago it was.
func (p *parameters) instant(name string) time.Time {
	s := p.of.Get(name)
	if s == "" {
		return time.Time{}
	}
	if t, err := time.Parse(time.RFC3339Nano, s); err == nil {
		return t
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return time.Now().Add(-d)
	}
	p.wrong(name, "a time such as 2026-12-01T00:00:00Z, or how long ago it was, such as 24h")
	return time.Time{}
}

func (p *parameters) number(name string) int {
	s := p.of.Get(name)
	if s == "" {
		return 0
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		p.wrong(name, "a whole number")
	}
	return n
}

func (p *parameters) flag(name string) bool {
	if !p.of.Has(name) {
		return false
	}
	switch p.of.Get(name) {
	case "", "true", "1":
		return true
	case "false", "0":
		return false
	}
	p.wrong(name, "true or false")
	return false
}

func (p *parameters) wrong(name, want string) {
	if p.err == nil {
		p.err = fmt.Errorf("%s: write %s", name, want)
	}
}

// known refuses parameters that mean nothing here: a filter that is misspelt would select all.
func (p *parameters) known(names ...string) {
	for name := range p.of {
		found := false
		for _, n := range names {
			found = found || n == name
		}
		if !found && p.err == nil {
			p.err = errors.New("there is a parameter that means nothing here; there are " + strings.Join(names, ", "))
		}
	}
}

// question reads a query for turns.
func question(r *http.Request) (q record.Query, follow bool, err error) {
	p := &parameters{of: r.URL.Query()}
	p.known("from", "until", "client", "session", "pool", "key", "model", "status", "error_class", "failed", "tools", "after", "limit", "follow")
	q = record.Query{
		From: p.instant("from"), Until: p.instant("until"), Client: p.of.Get("client"), Session: p.of.Get("session"), Pool: p.of.Get("pool"), Key: p.of.Get("key"),
		Model: p.of.Get("model"), Status: p.number("status"), ErrorClass: p.of.Get("error_class"), Failed: p.flag("failed"), WithTools: p.flag("tools"),
		After: p.of.Get("after"), Limit: p.number("limit"),
	}
	follow = p.flag("follow")
	if p.err != nil {
		return q, follow, p.err
	}
	_, _, err = q.Complete()
	return q, follow, err
}

func (h *handler) listTurns(w http.ResponseWriter, r *http.Request) {
	q, follow, err := question(r)
	if err != nil {
		fail(w, http.StatusBadRequest, "bad_query", err.Error())
		return
	}
	if follow {
		h.follow(w, r, q)
		return
	}
	page, err := h.Records.Reader.Turns(r.Context(), q)
	if err != nil {
		h.unreadable(w, r, err)
		return
	}
	turns := []Turn{}
	for i := range page.Turns {
		turns = append(turns, viewTurn(&page.Turns[i]))
	}
	answer(w, http.StatusOK, struct {
		Turns []Turn `json:"turns"`
		Next  string `json:"next,omitempty"` // the parameter after of the page that follows
		Lost  int64  `json:"lost,omitempty"` // turns that were not recorded since the process began
	}{turns, page.Next, h.lost()})
}

func (h *handler) lost() int64 {
	if h.Records == nil || h.Records.Losses == nil {
		return 0
	}
	return h.Records.Losses().Turns.Sum()
}

// unreadable answers for a store that does not. What it says may name files and hosts, so it is for the log.
func (h *handler) unreadable(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, record.ErrBadQuery) {
		fail(w, http.StatusBadRequest, "bad_query", err.Error())
		return
	}
	h.whyUnreadable(r, err)
	fail(w, http.StatusServiceUnavailable, "records_unreadable", "the store of records does not answer; the log says why")
}

// whyUnreadable logs why the store does not answer, and returns what the page says of it.
func (h *handler) whyUnreadable(r *http.Request, err error) string {
	if errors.Is(err, record.ErrBadQuery) {
		return "That cannot be asked: " + err.Error() + "."
	}
	if r.Context().Err() == nil {
		h.Log.LogAttrs(r.Context(), slog.LevelWarn, "records could not be read", slog.String("error", err.Error()))
	}
	return "The store of records does not answer; the log says why."
}

func (h *handler) oneTurn(w http.ResponseWriter, r *http.Request) {
	v, err := h.wholeTurn(r, r.PathValue("id"))
	switch {
	case errors.Is(err, record.ErrNotFound):
		fail(w, http.StatusNotFound, "turn_not_found", "no such turn; it is not over yet, or is no longer kept")
	case err != nil:
		h.unreadable(w, r, err)
	default:
		answer(w, http.StatusOK, v)
	}
}

// wholeTurn is a turn with what was said in it, for who may read that.
func (h *handler) wholeTurn(r *http.Request, id string) (Turn, error) {
	t, err := h.Records.Reader.Turn(r.Context(), id)
	if err != nil {
		return Turn{}, err
	}
	v := viewTurn(&t)
	if isViewer(r) {
		return v, nil
	}
	said, err := h.Records.Reader.Content(r.Context(), id)
	for _, c := range said {
		v.Said = append(v.Said, Said{Kind: kinds[c.Kind], Turn: c.Turn, Call: c.Call, Text: c.Text, Cut: c.Cut, At: c.At.UTC()})
	}
	return v, err
}

// spendQuestion reads a query for spend.
func spendQuestion(of url.Values) (record.SpendQuery, error) {
	p := &parameters{of: of}
	p.known("from", "until", "by", "every", "format")
	q := record.SpendQuery{From: p.instant("from"), Until: p.instant("until"), Every: record.Span(p.of.Get("every"))}
	// Spend is summed by the hour: an hour of which a part is meant counts as a whole.
	q.From = q.From.Truncate(time.Hour)
	if u := q.Until.Truncate(time.Hour); !u.Equal(q.Until) {
		q.Until = u.Add(time.Hour)
	}
	for _, by := range p.of["by"] {
		for name := range strings.SplitSeq(by, ",") {
			if name != "" {
				q.By = append(q.By, name)
			}
		}
	}
	if f := p.of.Get("format"); f != "" && f != "json" && f != "csv" {
		p.wrong("format", "json or csv")
	}
	if p.err != nil {
		return q, p.err
	}
	return q.Complete()
}

func (h *handler) spend(w http.ResponseWriter, r *http.Request) {
	q, err := spendQuestion(r.URL.Query())
	if err != nil {
		fail(w, http.StatusBadRequest, "bad_query", err.Error())
		return
	}
	rows, err := h.Records.Reader.Spend(r.Context(), q)
	if err != nil {
		h.unreadable(w, r, err)
		return
	}
	if r.URL.Query().Get("format") == "csv" {
		spendCSV(w, q, rows)
		return
	}
	views := []Spend{}
	for i := range rows {
		views = append(views, viewSpend(&rows[i]))
	}
	answer(w, http.StatusOK, struct {
		Rows []Spend `json:"rows"`
		Lost int64   `json:"lost,omitempty"`
	}{views, h.lost()})
}

// follow sends turns as server-sent events, as they come: "turn" has one, "lost" how many the reader was too slow for until then.
func (h *handler) follow(w http.ResponseWriter, r *http.Request, q record.Query) {
	if h.following.Add(1) > maxFollowing {
		h.following.Add(-1)
		fail(w, http.StatusServiceUnavailable, "too_many_follow", "as many follow already as may; try again later")
		return
	}
	defer h.following.Add(-1)
	f := h.Records.Follow(q)
	defer f.Close()
	stopping, _ := r.Context().Value(ending{}).(<-chan struct{})
	out := &events{w: w, control: http.NewResponseController(w)}
	w.Header().Set("Content-Type", "text/event-stream")
	if out.send(": turns follow\n\n") != nil {
		return
	}
	tick := time.NewTicker(keepAlive)
	defer tick.Stop()
	lost := int64(0)
	for {
		var err error
		select {
		case <-r.Context().Done():
			return
		case <-stopping:
			return
		case <-tick.C:
			err = out.send(":\n\n")
		case t := <-f.Turns:
			if n := f.Lost(); n > lost {
				lost = n
				err = out.event("lost", struct {
					Lost int64 `json:"lost"`
				}{lost})
			}
			if err == nil {
				err = out.event("turn", viewTurn(t))
			}
		}
		if err != nil {
			return
		}
	}
}

// events writes server-sent events.
type events struct {
	w       http.ResponseWriter
	control *http.ResponseController
}

func (e *events) event(name string, of any) error {
	data, err := json.Marshal(of)
	if err != nil {
		return err
	}
	return e.send("event: " + name + "\ndata: " + string(data) + "\n\n")
}

// send writes text, to a reader that has some time to take it: the server's own limit is for whole answers.
func (e *events) send(text string) error {
	_ = e.control.SetWriteDeadline(time.Now().Add(writeTime)) // where there is none to set, there is none
	if _, err := e.w.Write([]byte(text)); err != nil {
		return err
	}
	return e.control.Flush()
}
