package keypool

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keyturn/keyturn/internal/setting"
)

// Errors of New, NewPool, Reload and Validate, wrapped in the place they were found.
var (
	ErrNoKeys        = errors.New("no keys provided")
	ErrDuplicateKey  = errors.New("duplicate key")
	ErrDuplicateName = errors.New("duplicate name")
)

// publicLabel keys the fingerprints of pools without a secret of their own: they are equal everywhere, and who has a key can tell its fingerprint.
const publicLabel = "keyturn/keypool/fingerprint/1"

// Bounds of every time in a Config and in a Rule, so that no instant overflows.
const (
	ShortestTime = time.Millisecond
	LongestTime  = 30 * 24 * time.Hour
)

// Never as a Config's ReviveAfter leaves a Permanent key out until Reset.
const Never time.Duration = -1

// Config describes a pool. A duration that is 0 takes its default. Printed, logged or marshalled, it shows no secret.
type Config struct {
	Name        string        // the pool, in default names of keys
	Keys        []KeyConfig   // in order of priority; at least one
	Policy      Policy        // for Classify; the pool only keeps it
	Choose      Choose        // which of the usable keys; in order of priority
	Headroom    Headroom      // what keys are to have left; zero: it is not looked at
	Cooldown    Cooldown      // how long keys rest
	ReviveAfter time.Duration // wait before a Permanent key is tried again, doubled each time the trial fails; 15 min. Never: it is not tried
	ReviveMax   time.Duration // bound of the doubling; 24 h
	Secret      []byte        `json:"-"` // HMAC key of the fingerprints; empty: a fixed one
}

// Defaults returns a Config without keys that has the defaults of every other field.
func Defaults() Config {
	return Config{
		Cooldown: Cooldown{
			Default: time.Minute, Min: time.Second, Max: time.Hour,
			Billing: 10 * time.Minute, BillingMax: 24 * time.Hour,
		},
		Choose:      Choose{StayFor: time.Hour},
		ReviveAfter: 15 * time.Minute,
		ReviveMax:   24 * time.Hour,
	}
}

// Pool holds the keys of one provider and what is known about them. Its methods may be called from any goroutine. It starts no goroutine and no
// timer: what ends by time is found ended by the next reader.
type Pool struct {
	clock  Clock
	epoch  time.Time // instants count nanoseconds from here, monotonic, so that a step of the wall clock moves no deadline
	roster atomic.Pointer[roster]

	stays stays

	mu     sync.Mutex // serialises every change of state
	leases uint64     // number of the last reservation; protected by mu
}

// roster is the pool as last configured. It is never changed, so a walker keeps the one it began with.
type roster struct {
	cfg     Config // complete, without keys and secret
	entries []entry
	ranking *ranking
	names   map[string]*Key
	groups  map[string]*account
}

// entry is one key in its place.
type entry struct {
	key     *Key
	id      string
	account *account
}

// New returns a pool of these keys, in order of priority, with the defaults. A nil clock is the real one.
func New(keys []string, clk Clock) (*Pool, error) {
	cfg := Defaults()
	for _, k := range keys {
		cfg.Keys = append(cfg.Keys, KeyConfig{Secret: k})
	}
	return NewPool(cfg, clk)
}

// NewPool returns a pool, all keys Valid. A nil clock is the real one. The error names every fault of cfg, never a key.
func NewPool(cfg Config, clk Clock) (*Pool, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	if clk == nil {
		clk = realClock{}
	}
	p := &Pool{clock: clk, epoch: clk.Now()}
	p.roster.Store(p.build(cfg, &roster{}, 0))
	return p, nil
}

// Spreads reports whether keys are chosen by conversation.
func (p *Pool) Spreads() bool { return p.roster.Load().cfg.Choose.By == Spread }

// Reload replaces the configuration; on an error nothing changes. A key whose secret stays keeps its state, with its new place, name and group. A
// group that stays keeps its billing state; a new one takes the worst that its keys bring along. Walkers at work keep the keys they began with.
func (p *Pool) Reload(cfg Config) error {
	commit, err := p.Prepare(cfg)
	if err == nil {
		commit()
	}
	return err
}

// Prepare checks cfg and returns what makes it the pool's, as Reload does. Until commit is called nothing changes, and commit cannot fail: so
// several pools change together, or none.
func (p *Pool) Prepare(cfg Config) (commit func(), err error) {
	cfg, err = cfg.complete()
	if err != nil {
		return nil, err
	}
	return func() {
		now := p.now()
		p.mu.Lock()
		defer p.mu.Unlock()
		p.roster.Store(p.build(cfg, p.roster.Load(), now))
	}, nil
}

// build makes the roster that follows old and moves the keys that stay. It is called with mu held, or before the pool is shared.
func (p *Pool) build(cfg Config, old *roster, now int64) *roster {
	kept := make(map[string]*slot, len(old.entries))
	for _, e := range old.entries {
		kept[e.key.slot.secret()] = e.key.slot
	}
	r := &roster{names: make(map[string]*Key, len(cfg.Keys)), groups: map[string]*account{}}
	for _, kc := range cfg.Keys {
		s, stays := kept[kc.Secret]
		var before place
		if stays {
			before = *s.place.Load()
		} else {
			s = &slot{pool: p, secret: func() string { return kc.Secret }, hint: Mask(kc.Secret)}
			s.key = &Key{slot: s}
		}
		a := r.accountFor(kc.Group, before, old)
		pl := &place{id: fingerprint(cfg.Secret, kc.Secret), name: kc.Name, group: kc.Group, account: a}
		s.place.Store(pl)
		s.rescheduleLocked(cfg, now)
		r.entries = append(r.entries, entry{key: s.key, id: pl.id, account: a})
		r.names[kc.Name] = s.key
	}
	r.ranking = rankKeys(cfg.Choose.By, r.entries, cfg.Keys)
	cfg.Keys, cfg.Secret = nil, nil
	r.cfg = cfg
	return r
}

// Peers returns the ids of the keys in the group of a key, its own among them.
func (p *Pool) Peers(k *Key) []string {
	r := p.roster.Load()
	var ids []string
	for i := range r.entries {
		if e := &r.entries[i]; e.account == k.slot.place.Load().account {
			ids = append(ids, e.id)
		}
	}
	if len(ids) == 0 { // it was taken out meanwhile
		ids = append(ids, k.ID())
	}
	return ids
}

// accountFor returns the account of a key that is put into a group, given where it was before.
func (r *roster) accountFor(group string, before place, old *roster) *account {
	if group == "" && before.group == "" && before.account != nil {
		return before.account
	}
	a := r.groups[group] // never holds ""
	if a == nil {
		a = old.groups[group]
	}
	if a == nil {
		a = new(account)
	}
	if group != "" {
		r.groups[group] = a
	}
	if b := before.account; b != nil && old.groups[group] == nil && b.until.Load() > a.until.Load() {
		a.until.Store(b.until.Load())
		a.wait, a.failure = b.wait, b.failure
	}
	return a
}

// rescheduleLocked applies a changed ReviveAfter to a retired key.
func (s *slot) rescheduleLocked(cfg Config, now int64) {
	switch at := s.reviveAt.Load(); {
	case !s.retired.Load():
	case cfg.ReviveAfter == Never:
		s.reviveAt.Store(0)
	case at == 0:
		s.wait = cfg.ReviveAfter
		s.reviveAt.Store(now + int64(s.wait))
	}
}

// Name returns the pool's name.
func (p *Pool) Name() string { return p.roster.Load().cfg.Name }

// Policy returns the pool's policy, for Classify.
func (p *Pool) Policy() Policy { return p.roster.Load().cfg.Policy }

// Key returns the key of that name.
func (p *Pool) Key(name string) (*Key, bool) {
	k, ok := p.roster.Load().names[name]
	return k, ok
}

// Counts returns how many keys are in each state, indexed by State. It allocates nothing.
func (p *Pool) Counts() [4]int {
	r, now := p.roster.Load(), p.now()
	var n [4]int
	for i := range r.entries {
		n[r.entries[i].key.slot.stateAt(now)]++
	}
	return n
}

// now is the present instant: nanoseconds since the epoch, never negative.
func (p *Pool) now() int64 { return max(0, int64(p.clock.Since(p.epoch))) }

// at is the time of an instant; that of 0 is the zero time.
func (p *Pool) at(instant int64) time.Time {
	if instant == 0 {
		return time.Time{}
	}
	return p.epoch.Add(time.Duration(instant))
}

// Validate returns what is wrong with c, every fault by the path of its field in a configuration file; nil when NewPool takes it. It never
// repeats a key.
func (c Config) Validate() error {
	_, err := c.complete()
	return err
}

// complete checks c and fills in what it leaves open.
func (c Config) complete() (Config, error) {
	var found setting.Problems
	c.Keys = completeKeys(c, &found)
	c.Secret = append([]byte(nil), c.Secret...)
	c.Policy.Rules = append([]Rule(nil), c.Policy.Rules...)
	found.AddWithin("policy", c.Policy.check())
	var choose setting.Problems
	c.Choose = c.Choose.complete(&choose)
	found.AddWithin("choose", choose)
	found.AddWithin("headroom", c.Headroom.check())
	var cooldown setting.Problems
	c.Cooldown, cooldown = c.Cooldown.complete()
	found.AddWithin("cooldown", cooldown)
	d := Defaults()
	fillRange(&c.ReviveAfter, &c.ReviveMax, d.ReviveAfter, d.ReviveMax)
	if c.ReviveAfter != Never {
		setting.Range(&found, "revive_after", c.ReviveAfter, ShortestTime, LongestTime, setting.Duration)
	}
	setting.Range(&found, "revive_max", c.ReviveMax, max(ShortestTime, c.ReviveAfter), LongestTime, setting.Duration)
	return c, found.Err()
}

// DefaultName is the name of a pool's i-th key, from 0, where its KeyConfig has none.
func DefaultName(pool string, i int) string { return fmt.Sprintf("%s-%d", cmp.Or(pool, "key"), i+1) }

// completeKeys names the keys that have no name.
func completeKeys(c Config, found *setting.Problems) []KeyConfig {
	if len(c.Keys) == 0 {
		found.Add("keys", "%v", ErrNoKeys).Cause = ErrNoKeys
	}
	keys := make([]KeyConfig, len(c.Keys))
	bySecret, byName := map[string]int{}, map[string]int{}
	for i, k := range c.Keys {
		if k.Name == "" {
			k.Name = DefaultName(c.Name, i)
		}
		k = k.checkPlace(setting.Item("keys", i), found)
		keys[i] = k
		twice := func(seen map[string]int, of string, cause error) {
			j, ok := seen[of]
			seen[of] = i
			if ok {
				p := found.Add(setting.Item("keys", i), "%q: %v of keys[%d] %q; remove one", k.Name, cause, j, keys[j].Name)
				p.Beside, p.Cause = setting.Item("keys", j), cause
			}
		}
		twice(byName, k.Name, ErrDuplicateName)
		twice(bySecret, k.Secret, ErrDuplicateKey)
	}
	return keys
}

// fingerprint returns the ID of a key. 64 bits keep the keys of a pool apart and give nothing back of the key.
func fingerprint(secret []byte, key string) string {
	if len(secret) == 0 {
		secret = []byte(publicLabel)
	}
	h := hmac.New(sha256.New, secret)
	_, _ = io.WriteString(h, key)
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// String returns the pool's name and the keys as KeyConfig prints them.
func (c Config) String() string { return fmt.Sprintf("%s%v", c.Name, c.Keys) }

// Format prints what String returns, whatever the verb.
func (c Config) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, c.String()) }

// LogValue returns what String returns.
func (c Config) LogValue() slog.Value { return slog.StringValue(c.String()) }
