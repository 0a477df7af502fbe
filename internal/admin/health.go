package admin

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/keyturn/keyturn/keypool"
)

// health says that the process serves, whatever its pools are like: restarting it cures none of them.
func (h *handler) health(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(w, "ok")
}

// exhausted is a pool without a key that may be tried.
type exhausted struct {
	Name       string    `json:"name"`
	Reason     string    `json:"reason"`                        // as the exhaustion metrics name it
	RetryAfter float64   `json:"retry_after_seconds,omitempty"` // until the first key returns; absent: waiting does not help
	ReviveAt   time.Time `json:"revive_at,omitzero"`            // when all failed authentication: the first one's next trial; absent: never
}

// wait is what a pool without a usable key says about it, nil when it has one. Walker.Peek knows about keys on probation:
// one that is due for its trial may be tried.
func wait(p *keypool.Pool) *keypool.Error {
	_, none := p.Walker().Peek()
	return none
}

// ready answers 503 while a pool has no key that may be tried, and names the pools.
func (h *handler) ready(w http.ResponseWriter, _ *http.Request) {
	var without []exhausted
	var says []string
	longest, known := time.Duration(0), true
	for _, p := range h.Pools() {
		none := wait(p)
		if none == nil {
			continue
		}
		x := exhausted{Name: p.Name(), Reason: none.Kind.String(), RetryAfter: seconds(none.RetryAfter)}
		if none.Kind == keypool.AuthFailed {
			x.ReviveAt = instant(firstTrial(p.Snapshot()))
		}
		without = append(without, x)
		says = append(says, fmt.Sprintf("pool %q: %s", p.Name(), remedy(none, x.ReviveAt)))
		longest, known = max(longest, none.RetryAfter), known && none.RetryAfter > 0
	}
	if without == nil {
		answer(w, http.StatusOK, struct {
			Ready bool `json:"ready"`
		}{true})
		return
	}
	if known {
		w.Header().Set("Retry-After", strconv.FormatInt(int64((longest+time.Second-1)/time.Second), 10))
	}
	answer(w, http.StatusServiceUnavailable, struct {
		Ready bool        `json:"ready"`
		Error problem     `json:"error"`
		Pools []exhausted `json:"pools"`
	}{Error: problem{"not_ready", "no key may be tried in " + strings.Join(says, "; ")}, Pools: without})
}

// firstTrial is when the first key that failed authentication is tried again; zero: none is.
func firstTrial(keys []keypool.KeyStatus) time.Time {
	var first time.Time
	for _, k := range keys {
		if k.State != keypool.Disabled && !k.ReviveAt.IsZero() && (first.IsZero() || k.ReviveAt.Before(first)) {
			first = k.ReviveAt
		}
	}
	return first
}

// remedy says what stands in the way and what an operator can do about it.
func remedy(e *keypool.Error, trial time.Time) string {
	returns := fmt.Sprintf("the first key returns in %s", e.RetryAfter.Round(time.Millisecond))
	switch {
	case e.Kind == keypool.AllDisabled:
		return "every key is disabled; enable one"
	case e.Kind == keypool.AuthFailed && trial.IsZero():
		return "the provider refused every key; replace them, or reset one to try it again"
	case e.Kind == keypool.AuthFailed:
		return "the provider refused every key, and one is tried again at " + trial.Format(time.RFC3339) +
			"; replace them, or reset one to try it now"
	case e.RetryAfter == 0:
		return "a key returned at this moment; ask again"
	case e.Reason == keypool.Quota:
		return "no key has credit, and " + returns + "; raise the limit with the provider, or add a key"
	}
	return returns + "; wait, or add a key"
}
