package admin

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/keyturn/keyturn/internal/record"
)

// PoolAbout is what there is to say of a pool beside its keys.
type PoolAbout struct {
	Name     string
	Provider string
	Upstream string   // the provider's host
	Fallback []string // pools that serve where this one cannot, in order
	Tools    []string // MCP servers whose tools it gives to models
}

// abouts returns what there is to say of the pools, in the order of the configuration.
func (h *handler) abouts() []PoolAbout {
	if h.About == nil {
		return nil
	}
	return h.About()
}

// todayView is what a key cost since midnight, UTC.
type todayView struct {
	Turns    int64  `json:"turns"`
	Tokens   int64  `json:"tokens"`
	USD      string `json:"usd"`
	Unpriced int64  `json:"unpriced"` // tokens without a price
}

type poolKey struct{ pool, key string }

// today remembers for a moment what the keys cost today: pages that are open ask all the time.
type today struct {
	mu    sync.Mutex // protects the fields below
	asked time.Time
	spent map[poolKey]*todayView
}

// Bounds of asking what was spent.
const (
	spentFresh   = 3 * time.Second
	spentTimeout = 2 * time.Second
)

// spentToday returns what each key cost today; nothing where it is not recorded, or cannot be read now.
func (h *handler) spentToday(ctx context.Context) map[poolKey]*todayView {
	if h.Records == nil {
		return nil
	}
	t, now := &h.today, time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	if now.Sub(t.asked) < spentFresh {
		return t.spent
	}
	ctx, cancel := context.WithTimeout(ctx, spentTimeout)
	defer cancel()
	rows, err := h.Records.Reader.Spend(ctx, record.SpendQuery{From: record.DayOf(now), By: []string{record.ByPool, record.ByKey}})
	t.asked, t.spent = now, nil
	if err != nil {
		h.Log.LogAttrs(ctx, slog.LevelWarn, "what was spent today could not be read", slog.String("error", err.Error()))
		return nil
	}
	t.spent = make(map[poolKey]*todayView, len(rows))
	for i := range rows {
		r := &rows[i]
		t.spent[poolKey{r.By[record.ByPool], r.By[record.ByKey]}] = &todayView{r.Turns, r.Usage.Input + r.Usage.Output, dollars(r.Nano), r.Unpriced}
	}
	return t.spent
}
