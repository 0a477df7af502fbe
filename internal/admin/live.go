package admin

import (
	"bytes"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/keyturn/keyturn/internal/page"
	"github.com/keyturn/keyturn/internal/record"
)

// Bounds of what an open page is sent.
const (
	batchTime   = 250 * time.Millisecond // how long turns are gathered
	batchRows   = 50                     // of one batch; the newest are sent
	slowFrom    = 128 << 10              // bytes of a view from which it is looked at less often
	slowTimes   = 5
	retryMillis = "1000"
)

// live sends a view anew whenever it changes, or turns as they end.
func (h *handler) live(w http.ResponseWriter, r *http.Request) {
	at, err := url.Parse(r.URL.Query().Get("view"))
	if err != nil {
		fail(w, http.StatusBadRequest, "bad_query", "view: write a path of the page")
		return
	}
	v, known := h.pages[at.Path]
	of := r.Clone(r.Context())
	of.URL = &url.URL{Path: at.Path, RawQuery: at.RawQuery}
	switch {
	case !known || at.IsAbs() || at.Host != "" || v.every == 0 && at.Path != "/turns" || at.Path == "/turns" && h.Records == nil:
		fail(w, http.StatusNotFound, "not_found", "this view does not change by itself")
		return
	case h.following.Add(1) > maxFollowing:
		h.following.Add(-1)
		fail(w, http.StatusServiceUnavailable, "too_many_follow", "as many follow already as may; try again later")
		return
	}
	defer h.following.Add(-1)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	out := &events{w: w, control: http.NewResponseController(w)}
	if at.Path == "/turns" {
		h.liveTurns(of, out)
		return
	}
	h.liveView(of, v, out)
}

// hello begins a stream, once nothing that comes after it can be missed.
func (e *events) hello() error {
	return errors.Join(e.send("retry: "+retryMillis+"\n\n"), e.event("hello", page.Build))
}

// over is what ends what lasts: the reader has left, or the process stops.
func over(r *http.Request) (left, stopping <-chan struct{}) {
	stopping, _ = r.Context().Value(ending{}).(<-chan struct{})
	return r.Context().Done(), stopping
}

func (h *handler) liveView(r *http.Request, v viewer, out *events) {
	if out.hello() != nil {
		return
	}
	left, stopping := over(r)
	tick := time.NewTicker(v.every)
	defer tick.Stop()
	quiet := time.Now()
	var last []byte
	for skip := 0; ; {
		if skip--; skip < 0 {
			var now bytes.Buffer
			if page.Fragment(&now, v.make(r)) != nil {
				return
			}
			switch {
			case !bytes.Equal(now.Bytes(), last):
				last, quiet = now.Bytes(), time.Now()
				if out.event("view", string(last)) != nil {
					return
				}
			case time.Since(quiet) > keepAlive:
				quiet = time.Now()
				if out.send(":\n\n") != nil {
					return
				}
			}
			skip = 0
			if len(last) > slowFrom {
				skip = slowTimes
			}
		}
		select {
		case <-left:
			return
		case <-stopping:
			return
		case <-tick.C:
		}
	}
}

// rows are turns that ended, for the tail.
type rows struct {
	HTML string `json:"html"`
	N    int    `json:"n"`
	Lost int64  `json:"lost,omitempty"` // that the tail could not show, since it began
}

func (h *handler) liveTurns(r *http.Request, out *events) {
	q, _, err := turnsQuestion(r)
	if err != nil {
		return
	}
	q.After, q.Limit = "", 0
	f := h.Records.Follow(q)
	defer f.Close()
	if out.hello() != nil {
		return
	}
	left, stopping := over(r)
	alive := time.NewTicker(keepAlive)
	defer alive.Stop()
	batch := time.NewTimer(batchTime)
	batch.Stop()
	defer batch.Stop()
	var gathered []*record.Turn
	skipped := int64(0)
	for {
		var err error
		select {
		case <-left:
			return
		case <-stopping:
			return
		case <-alive.C:
			err = out.send(":\n\n")
		case t := <-f.Turns:
			if len(gathered) == 0 {
				batch.Reset(batchTime)
			}
			if gathered = append(gathered, t); len(gathered) > batchRows {
				gathered = gathered[1:]
				skipped++
			}
		case <-batch.C:
			err = sendRows(out, gathered, skipped+f.Lost())
			gathered = nil
		}
		if err != nil {
			return
		}
	}
}

func sendRows(out *events, turns []*record.Turn, lost int64) error {
	views := make([]Turn, 0, len(turns))
	for _, t := range slices.Backward(turns) {
		views = append(views, viewTurn(t))
	}
	var html bytes.Buffer
	if err := page.Rows(&html, views); err != nil {
		return err
	}
	return out.event("rows", rows{html.String(), len(views), lost})
}
