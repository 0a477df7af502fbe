package admin

import (
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/keyturn/keyturn/keypool"
)

// The shapes of the answers. Times are RFC 3339 in UTC, absent when there is none; durations are seconds.
type (
	poolView struct {
		Name       string    `json:"name"`
		Ready      bool      `json:"ready"`                         // a key may be tried
		RetryAfter float64   `json:"retry_after_seconds,omitempty"` // when not ready: until the first key returns
		Provider   string    `json:"provider,omitempty"`
		Upstream   string    `json:"upstream,omitempty"`
		Fallback   []string  `json:"fallback,omitempty"` // pools that serve where this one cannot, in order
		Keys       []keyView `json:"keys"`               // in order of priority
	}
	keyView struct {
		Name  string `json:"name"`
		Hint  string `json:"hint"`            // the masked key
		ID    string `json:"id"`              // the fingerprint, as the access log has it
		Group string `json:"group,omitempty"` // the organisation that shares its limits

		State     string      `json:"state"`               // valid, temporary, permanent or disabled
		Reason    string      `json:"reason,omitempty"`    // why it rests or was given up; a disabled key keeps it underneath
		Until     time.Time   `json:"until,omitzero"`      // the end of its rest
		ReviveAt  time.Time   `json:"revive_at,omitzero"`  // when a permanent key is tried again; absent: never
		Probation bool        `json:"probation,omitempty"` // one request at a time may try it, until one succeeds
		Trial     bool        `json:"trial,omitempty"`     // such a request runs now
		Models    []modelView `json:"models,omitempty"`    // what it is left out for

		Headroom *headroomView `json:"headroom,omitempty"` // what the last answer told of its allowances; absent: nothing, or the pool has no headroom

		Chosen      uint64 `json:"chosen"` // this and the next three: since the key was added
		Cooldowns   uint64 `json:"cooldowns"`
		Retirements uint64 `json:"retirements"`
		Revivals    uint64 `json:"revivals"`

		// Of each of the last 60 minutes, the oldest first; absent when there were none.
		RequestsPerMinute []uint32      `json:"requests_per_minute,omitempty"`
		FailuresPerMinute []uint32      `json:"failures_per_minute,omitempty"`
		LastFailures      []failureView `json:"last_failures,omitempty"` // at most five, the newest first
		Today             *todayView    `json:"today,omitempty"`         // since midnight, UTC
	}
	failureView struct {
		At    time.Time `json:"at"`
		Class string    `json:"class"`
		Code  string    `json:"code,omitempty"` // the provider's
	}
	headroomView struct {
		Left     float64   `json:"left"`               // the smallest share that is left, from 0 to 1
		LowUntil time.Time `json:"low_until,omitzero"` // until when the key is passed by, as long as another can serve
	}
	modelView struct {
		Model  string    `json:"model"`
		Reason string    `json:"reason,omitempty"`
		Until  time.Time `json:"until,omitzero"`
	}
)

func viewPool(p *keypool.Pool) poolView {
	v := poolView{Name: p.Name(), Ready: true, Keys: []keyView{}}
	if none := wait(p); none != nil {
		v.Ready, v.RetryAfter = false, seconds(none.RetryAfter)
	}
	keys := p.Snapshot()
	did := p.Activity()
	for i, s := range keys {
		k := viewKey(s)
		if i < len(did) && did[i].ID == s.ID { // no reload came between
			k.viewActivity(&did[i])
		}
		v.Keys = append(v.Keys, k)
	}
	return v
}

func (v *keyView) viewActivity(a *keypool.Activity) {
	if a.Minutes != ([keypool.RecentMinutes]keypool.Minute{}) {
		v.RequestsPerMinute, v.FailuresPerMinute = make([]uint32, keypool.RecentMinutes), make([]uint32, keypool.RecentMinutes)
		for i, m := range a.Minutes {
			v.RequestsPerMinute[i], v.FailuresPerMinute[i] = m.Requests, m.Failures
		}
	}
	for _, f := range a.Failures {
		v.LastFailures = append(v.LastFailures, failureView{instant(f.At), f.Class.String(), f.Code})
	}
}

// HourRequests is how often the key was handed out within the hour.
func (v *keyView) HourRequests() uint64 { return sum(v.RequestsPerMinute) }

// HourFailures is how often it failed within the hour.
func (v *keyView) HourFailures() uint64 { return sum(v.FailuresPerMinute) }

func sum(of []uint32) (n uint64) {
	for _, v := range of {
		n += uint64(v)
	}
	return n
}

// PerMille is the share that is left, in thousandths.
func (v headroomView) PerMille() int64 {
	const all = 1000
	return int64(v.Left * all)
}

func viewKey(s keypool.KeyStatus) keyView {
	v := keyView{
		Name: s.Name, Hint: s.Hint, ID: s.ID, Group: s.Group,
		State: s.State.String(), Reason: reason(s.Reason), Until: instant(s.Until), ReviveAt: instant(s.ReviveAt),
		Probation: s.Probation, Trial: s.Reserved,
		Chosen: s.Chosen, Cooldowns: s.Cooldowns, Retirements: s.Retirements, Revivals: s.Revivals,
	}
	if s.Left != nil {
		v.Headroom = &headroomView{*s.Left, instant(s.LowUntil)}
	}
	for _, m := range s.Parked {
		v.Models = append(v.Models, modelView{m.Model, reason(m.Reason), instant(m.Until)})
	}
	return v
}

func reason(c keypool.Class) string {
	if c == keypool.None {
		return ""
	}
	return c.String()
}

// poolsView is all pools, with what there is to say beside their keys.
func (h *handler) poolsView(r *http.Request) []poolView {
	abouts := map[string]PoolAbout{}
	for _, a := range h.abouts() {
		abouts[a.Name] = a
	}
	spent := h.spentToday(r.Context())
	pools := []poolView{}
	for _, p := range h.Pools() {
		v := viewPool(p)
		about := abouts[v.Name]
		v.Provider, v.Upstream, v.Fallback = about.Provider, about.Upstream, about.Fallback
		for i := range v.Keys {
			v.Keys[i].Today = spent[poolKey{v.Name, v.Keys[i].Name}]
		}
		pools = append(pools, v)
	}
	return pools
}

func (h *handler) listPools(w http.ResponseWriter, r *http.Request) {
	answer(w, http.StatusOK, struct {
		Version string     `json:"version"`
		Pools   []poolView `json:"pools"`
	}{h.Version, h.poolsView(r)})
}

func (h *handler) onePool(w http.ResponseWriter, r *http.Request) {
	if p := h.pool(w, r); p != nil {
		answer(w, http.StatusOK, viewPool(p))
	}
}

// pool finds the pool of the path. When there is none it answers 404 and returns nil.
func (h *handler) pool(w http.ResponseWriter, r *http.Request) *keypool.Pool {
	pools := h.Pools()
	names := make([]string, 0, len(pools))
	for _, p := range pools {
		if p.Name() == r.PathValue("pool") {
			return p
		}
		names = append(names, p.Name())
	}
	fail(w, http.StatusNotFound, "pool_not_found", "no such pool; there are "+list(names))
	return nil
}

// list joins names, or says that there are none.
func list(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// actions are what an operator can do to a key; each reports whether that changed its state.
var actions = map[string]func(*keypool.Key) bool{
	"disable": (*keypool.Key).Disable,
	"enable":  (*keypool.Key).Enable,
	"reset":   (*keypool.Key).Reset,
}

func (h *handler) switchKey(w http.ResponseWriter, r *http.Request) {
	action := r.PathValue("action")
	if actions[action] == nil {
		fail(w, http.StatusNotFound, "action_not_found", "no such action; there are disable, enable, reset")
		return
	}
	p := h.pool(w, r)
	if p == nil {
		return
	}
	key, ok := p.Key(r.PathValue("name"))
	if !ok {
		keys := p.Snapshot()
		names := make([]string, 0, len(keys))
		for _, s := range keys {
			names = append(names, s.Name)
		}
		fail(w, http.StatusNotFound, "key_not_found", "no such key in this pool; there are "+list(names))
		return
	}
	h.act(r, action, p, key)
	for _, s := range p.Snapshot() {
		if s.ID == key.ID() {
			answer(w, http.StatusOK, viewKey(s))
			return
		}
	}
	fail(w, http.StatusNotFound, "key_not_found", "a reload removed the key meanwhile; see GET /api/v1/pools")
}

// act does to a key what the operator asked for, and logs it.
func (h *handler) act(r *http.Request, action string, p *keypool.Pool, key *keypool.Key) {
	changed := actions[action](key)
	h.Log.LogAttrs(r.Context(), slog.LevelInfo, "operator switched a key", slog.String("action", action),
		slog.String("pool", p.Name()), slog.String("key", key.Name()), slog.String("hint", key.Hint()),
		slog.String("state", key.State().String()), slog.Bool("changed", changed), from(r), by(r))
}
