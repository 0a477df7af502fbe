package keypool_test

import (
	"fmt"
	"slices"
	"time"

	"github.com/keyturn/keyturn/keypool"
)

// slowPool says the rules of a pool over again, as plainly as they can be said: no atomics, no locks, one list. Instants are times since the start.
type slowPool struct {
	now                 time.Duration
	reviveAfter, maxRev time.Duration
	cooldown            keypool.Cooldown
	keys                []*slowKey
	trials              int
}

type slowKey struct {
	name, group       string
	account           *slowAccount
	disabled, retired bool
	restEnd           time.Duration
	restFor           keypool.Class
	reviveAt, wait    time.Duration // reviveAt < 0: never
	trial             int           // number of the trial that runs; 0: none
	parked            map[string]time.Duration
	why               *slowFailure // of a retired key
}

type slowAccount struct {
	broke     bool
	end, wait time.Duration
	trial     int
	why       *slowFailure // of a broke account
}

// slowFailure is why and when a key or an account failed.
type slowFailure struct {
	reason string
	at     time.Duration
}

// alike says that all keys which are not disabled failed for one reason within a minute, and not by one failure.
func (p *slowPool) alike() bool {
	var all []*slowFailure
	for _, k := range p.keys {
		switch {
		case k.disabled:
		case k.retired:
			all = append(all, k.why)
		case k.account.broke:
			all = append(all, k.account.why)
		default:
			return false
		}
	}
	for _, f := range all {
		for _, g := range all {
			if f.reason != g.reason || f.at-g.at > time.Minute {
				return false
			}
		}
	}
	return slices.ContainsFunc(all, func(f *slowFailure) bool { return f != all[0] })
}

// slowHandle is a key in the hands of a request.
type slowHandle struct {
	key     *slowKey
	trial   int
	account *slowAccount
}

// slowWalker is a request on its way through the keys that there were when it began.
type slowWalker struct {
	keys     []*slowKey
	accounts []*slowAccount
	tried    []string
	model    string
	group    bool
	held     *slowHandle
}

func (p *slowPool) state(k *slowKey) keypool.State {
	if k.disabled {
		return keypool.Disabled
	}
	if k.retired {
		return keypool.Permanent
	}
	if p.now < k.restEnd || k.account.broke && p.now < k.account.end {
		return keypool.Temporary
	}
	return keypool.Valid
}

// obstacle says what keeps a key from being handed out, "" when nothing does, and for how long.
func (p *slowPool) obstacle(k *slowKey, model string) (string, time.Duration) {
	resting := max(k.restEnd-p.now, 0)
	if k.account.broke {
		resting = max(resting, k.account.end-p.now)
	}
	onTrial := k.retired && k.trial != 0 || k.account.broke && k.account.trial != 0
	end, parked := k.parked[model]
	parked = parked && p.now < end
	switch {
	case k.disabled:
		return "disabled", 0
	case k.retired && (k.reviveAt < 0 || p.now < k.reviveAt || resting > 0):
		return "refused", 0
	case k.retired && onTrial:
		return "limited", time.Second
	case resting > 0 && k.restFor == keypool.Credential && k.restEnd-p.now == resting && (!k.account.broke || k.account.end != k.restEnd):
		return "refused", resting
	case resting > 0:
		return "limited", resting
	case parked:
		return "parked", end - p.now
	case onTrial:
		return "limited", time.Second
	}
	return "", 0
}

// next hands out the first key without an obstacle, or says why there is none.
func (p *slowPool) next(w *slowWalker) (*slowHandle, keypool.Kind, time.Duration) {
	p.release(w.held)
	w.held = nil
	all, accounts := w.keys, w.accounts
	for i, k := range all {
		if k == nil || slices.Contains(w.tried, k.name) || w.group && accounts[i] != accounts[0] {
			continue
		}
		if what, _ := p.obstacle(k, w.model); what != "" {
			continue
		}
		for j := range i + 1 {
			w.tried = append(w.tried, all[j].name) // a walker does not turn back
		}
		h := &slowHandle{key: k, account: k.account}
		if k.retired || k.account.broke {
			p.trials++
			h.trial = p.trials
			if k.retired {
				k.trial = h.trial
			}
			if k.account.broke {
				k.account.trial = h.trial
			}
			w.held = h
		}
		return h, 0, 0
	}
	for _, k := range all {
		w.tried = append(w.tried, k.name)
	}
	kind, wait := p.why(w)
	return nil, kind, wait
}

func (p *slowPool) why(w *slowWalker) (keypool.Kind, time.Duration) {
	seen := map[string]bool{}
	wait := time.Duration(-1)
	for i, k := range w.keys {
		if w.group && w.accounts[i] != w.accounts[0] {
			continue
		}
		what, d := p.obstacle(k, w.model)
		seen[what] = true
		if d > 0 && (wait < 0 || d < wait) {
			wait = d
		}
	}
	switch {
	case seen[""]:
		return keypool.RateLimited, 0
	case seen["limited"]:
		return keypool.RateLimited, wait
	case seen["parked"]:
		return keypool.ModelUnavailable, wait
	case seen["refused"]:
		return keypool.AuthFailed, 0
	}
	return keypool.AllDisabled, 0
}

func (p *slowPool) release(h *slowHandle) {
	if h == nil || h.trial == 0 {
		return
	}
	if h.key.trial == h.trial {
		h.key.trial = 0
	}
	if h.account.trial == h.trial {
		h.account.trial = 0
	}
}

func (p *slowPool) rest(v keypool.Verdict) time.Duration {
	d := v.Cooldown
	if d > 0 && v.Ruled {
		return d
	}
	if d <= 0 && v.Class == keypool.Quota {
		d = p.cooldown.Billing
	}
	if d <= 0 {
		d = p.cooldown.Default
	}
	return min(max(d, p.cooldown.Min), p.cooldown.Max)
}

func (p *slowPool) mark(h *slowHandle, v keypool.Verdict, model string) {
	k, holds := h.key, h.trial != 0 && h.key.trial == h.trial
	reason := fmt.Sprint(v.Class, " ", v.Code)
	switch {
	case v.Action == keypool.Surface:
		return
	case v.Action == keypool.Retire && !k.retired:
		k.retired, k.wait = true, p.reviveAfter
		k.why = &slowFailure{reason, p.now}
		k.reviveAt = p.now + k.wait
	case v.Action == keypool.Retire && holds:
		k.why.reason = reason
		if !p.alike() {
			k.wait = min(2*k.wait, p.maxRev)
		}
		k.reviveAt = p.now + k.wait
	case v.Action == keypool.Retire:
	case v.Scope == keypool.ScopeKeyModel && model != "":
		k.parked[model] = max(k.parked[model], p.now+p.rest(v))
	case v.Action == keypool.NextKey, v.Class == keypool.ModelGone:
		return
	case v.Scope == keypool.ScopeGroup:
		a := k.account
		if !a.broke {
			a.wait, a.why = p.cooldown.Billing, &slowFailure{reason, p.now}
		} else if p.now >= a.end {
			if a.why.reason = reason; !p.alike() {
				a.wait = min(2*a.wait, p.cooldown.BillingMax)
			}
		}
		a.end = max(a.end, p.now+max(a.wait, min(v.Cooldown, p.cooldown.BillingMax)))
		a.broke = true
	case !k.retired:
		if end := p.now + p.rest(v); end > k.restEnd {
			k.restEnd, k.restFor = end, v.Class
		}
	case holds:
		k.reviveAt = max(k.reviveAt, p.now+p.rest(v))
	}
	if v.Action == keypool.Retire && p.reviveAfter == keypool.Never {
		k.reviveAt = -1
	}
	p.release(h)
}

func (p *slowPool) success(h *slowHandle) bool {
	key := h.trial != 0 && h.key.trial == h.trial
	account := h.trial != 0 && h.account.trial == h.trial
	if (key || account) && p.alike() {
		for _, k := range p.keys {
			if !k.disabled {
				k.retired, k.trial = false, 0
				*k.account = slowAccount{}
			}
		}
	}
	if key {
		h.key.retired = false
	}
	if account {
		*h.account = slowAccount{}
	}
	p.release(h)
	return key || account
}

func (p *slowPool) reset(k *slowKey) {
	*k = slowKey{name: k.name, group: k.group, account: k.account, disabled: k.disabled, parked: map[string]time.Duration{}}
	*k.account = slowAccount{}
}

// reload puts these keys in place of the old, in groups.
func (p *slowPool) reload(cfg keypool.Config) {
	before := map[string]*slowAccount{}
	old := map[string]*slowKey{}
	for _, k := range p.keys {
		old[k.name] = k
		if k.group != "" {
			before[k.group] = k.account
		}
	}
	p.keys = nil
	after := map[string]*slowAccount{}
	for _, kc := range cfg.Keys {
		k := old[kc.Secret]
		if k == nil {
			k = &slowKey{name: kc.Secret, parked: map[string]time.Duration{}}
		}
		was, stood := k.account, k.group
		k.group = kc.Group
		switch {
		case kc.Group == "" && was != nil && stood == "":
		case kc.Group != "" && before[kc.Group] != nil:
			k.account = before[kc.Group]
		default:
			k.account = after[kc.Group]
			if k.account == nil || kc.Group == "" {
				k.account = &slowAccount{}
				after[kc.Group] = k.account
			}
			if was != nil && was.broke && was.end > k.account.end {
				k.account.broke, k.account.end, k.account.wait = true, was.end, was.wait
				why := *was.why
				k.account.why = &why
			}
		}
		p.keys = append(p.keys, k)
	}
}
