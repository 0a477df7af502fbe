package keypool

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"
	"time"
)

// State is the state of one key.
type State uint8

// The states of a key. A later one hides an earlier one: a Disabled key keeps what it was underneath.
const (
	Valid     State = iota // may be chosen
	Temporary              // rests until a deadline
	Permanent              // failed authentication; only single trial requests use it, if at all, until one succeeds
	Disabled               // taken out by an operator
)

var stateNames = [...]string{"valid", "temporary", "permanent", "disabled"}

// String returns "valid", "temporary", "permanent" or "disabled".
func (s State) String() string { return nameOf(stateNames[:], s) }

// Key is one key of a pool, as a walker hands it out. Keys are compared by ID, not by pointer: a key that is handed out for a trial comes as a
// value of its own, which holds the reservation. Its methods may be called from any goroutine. Printed or marshalled, it does not show its secret.
type Key struct {
	slot    *slot
	lease   uint64   // number of the reservation this value holds; 0: none
	account *account // what was reserved besides the slot; nil without a lease
}

// slot is the state of one key, shared by all its Key values. What is atomic is read without a lock and written under pool.mu.
type slot struct {
	pool   *Pool
	secret func() string // a function, so that nothing that prints by reflection shows the key
	hint   string
	key    *Key // the value without a lease

	place    atomic.Pointer[place]
	disabled atomic.Bool
	retired  atomic.Bool               // Permanent
	until    atomic.Int64              // instant at which the rest ends; 0: it never rested
	reviveAt atomic.Int64              // instant from which a retired key may be tried; 0: never
	parked   atomic.Pointer[[]parking] // never changed in place; nil: none
	chosen   atomic.Uint64
	recent   recent

	// protected by pool.mu
	lease                            uint64        // of the trial that runs; 0: none
	wait                             time.Duration // the last wait of a retired key
	restedFor                        Class
	failure                          failure // of a retired key
	cooldowns, retirements, revivals uint64
}

// place is what a reload can change about a key.
type place struct {
	id, name, group string
	account         *account
}

// account is whose credit keys spend: a named group, or one key without a group. After a billing failure it rests; then it is on trial, by one
// request at a time, until one succeeds.
type account struct {
	until atomic.Int64 // instant at which the rest ends; 0: no billing failure since the last success

	// protected by pool.mu
	lease   uint64
	wait    time.Duration
	failure failure
}

// State returns the key's state now.
func (k *Key) State() State { return k.slot.stateAt(k.slot.pool.now()) }

// Name returns the key's name, for logs and metrics.
func (k *Key) Name() string { return k.slot.place.Load().name }

// Hint returns the masked secret, for records; see Mask.
func (k *Key) Hint() string { return k.slot.hint }

// ID returns the key's fingerprint: 16 hexadecimal digits of an HMAC-SHA256, the same wherever Config.Secret is the same.
func (k *Key) ID() string { return k.slot.place.Load().id }

// Secret returns the API key itself.
func (k *Key) Secret() string { return k.slot.secret() }

// MarkSuccess says that the provider accepted the key. It is true when that ended a trial: a Permanent key is Valid again, a group without
// credit has some, and their waits start anew. Without a reservation it does nothing, at the cost of one comparison: an answer to an older
// request is no news.
func (k *Key) MarkSuccess() bool {
	if k.lease == 0 {
		return false
	}
	return k.slot.pool.succeed(k)
}

// Disable takes the key out until Enable. It is true when the key was not disabled.
func (k *Key) Disable() bool { return k.slot.disabled.CompareAndSwap(false, true) }

// Enable undoes Disable, and nothing else. It is true when the key was disabled.
func (k *Key) Enable() bool { return k.slot.disabled.CompareAndSwap(true, false) }

// Reset forgets every failure of the key and of its group, but not Disable. It is true when that changed the key's state.
func (k *Key) Reset() bool { return k.slot.pool.reset(k.slot) }

// stateAt is the state at an instant.
func (s *slot) stateAt(now int64) State {
	switch {
	case s.disabled.Load():
		return Disabled
	case s.retired.Load():
		return Permanent
	case now < s.restsUntil():
		return Temporary
	}
	return Valid
}

// restsUntil is when both the key's own rest and its account's end.
func (s *slot) restsUntil() int64 {
	return max(s.until.Load(), s.place.Load().account.until.Load())
}

// use says whether a walker may hand out a key.
type use uint8

const (
	busy  use = iota // not now
	free             // yes
	trial            // yes, if no other request tries it: it is on probation
)

// useAt says whether the key may be handed out at an instant, for a model ("": any).
func (s *slot) useAt(now int64, model string) use {
	if s.disabled.Load() || now < s.until.Load() {
		return busy
	}
	found := free
	if s.retired.Load() {
		if at := s.reviveAt.Load(); at == 0 || now < at {
			return busy
		}
		found = trial
	}
	if until := s.place.Load().account.until.Load(); until != 0 {
		if now < until {
			return busy
		}
		found = trial
	}
	if _, parked := s.parkedFor(model, now); parked {
		return busy
	}
	return found
}

// reservedLocked reports whether a trial of the key, or of its account, runs, other than that of the lease own (0: none).
func (s *slot) reservedLocked(own uint64) bool {
	a := s.place.Load().account
	return s.retired.Load() && s.lease != 0 && s.lease != own || a.until.Load() != 0 && a.lease != 0 && a.lease != own
}

// KeyConfig describes one key. Printed, logged or marshalled, it does not show its secret.
type KeyConfig struct {
	Name   string // for logs and metrics; "" becomes <pool>-<n>, counted from 1
	Secret string // the API key
	Group  string // the organisation whose credit it spends, so that its keys rest together; "": the key stands alone
	Tier   int    // from 0 to MaxTier: keys of a later tier are asked when no key of the earlier ones is usable
	Weight int    // with Spread, its share of the conversations beside the others of its tier, from 1 to MaxWeight; 0: 1
}

// String returns the name and the masked secret.
func (k KeyConfig) String() string { return k.Name + "(" + Mask(k.Secret) + ")" }

// Format prints what String returns, whatever the verb: %d and %+v would show the fields.
func (k KeyConfig) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, k.String()) }

// LogValue returns what String returns.
func (k KeyConfig) LogValue() slog.Value { return slog.StringValue(k.String()) }

// MarshalJSON writes the fields with the masked secret.
func (k KeyConfig) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct{ Name, Hint, Group string }{k.Name, Mask(k.Secret), k.Group})
}

// String returns the name and the masked secret.
func (k Key) String() string { return k.Name() + "(" + k.Hint() + ")" }

// Format prints what String returns, whatever the verb.
func (k Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, k.String()) }

// LogValue returns what String returns.
func (k Key) LogValue() slog.Value { return slog.StringValue(k.String()) }
