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
		Keys       []keyView `json:"keys"`                          // in order of priority
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
	for _, s := range p.Snapshot() {
		v.Keys = append(v.Keys, viewKey(s))
	}
	return v
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

func (h *handler) listPools(w http.ResponseWriter, _ *http.Request) {
	pools := []poolView{}
	for _, p := range h.Pools() {
		pools = append(pools, viewPool(p))
	}
	answer(w, http.StatusOK, struct {
		Version string     `json:"version"`
		Pools   []poolView `json:"pools"`
	}{h.Version, pools})
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
	act := actions[action]
	if act == nil {
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
	changed := act(key)
	h.Log.LogAttrs(r.Context(), slog.LevelInfo, "operator switched a key", slog.String("action", action),
		slog.String("pool", p.Name()), slog.String("key", key.Name()), slog.String("hint", key.Hint()),
		slog.String("state", key.State().String()), slog.Bool("changed", changed), from(r))
	for _, s := range p.Snapshot() {
		if s.ID == key.ID() {
			answer(w, http.StatusOK, viewKey(s))
			return
		}
	}
	fail(w, http.StatusNotFound, "key_not_found", "a reload removed the key meanwhile; see GET /api/v1/pools")
}
