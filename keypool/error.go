package keypool

import (
	"strings"
	"time"
)

// Kind says why no key could be chosen.
type Kind uint8

// The kinds of exhaustion.
const (
	KindUnknown      Kind = iota // the zero value; no walker returns it
	RateLimited                  // waiting helps: a key rests, or the only usable one is on trial by another request
	AuthFailed                   // every key failed authentication
	ModelUnavailable             // every key that could serve was refused this model
	AllDisabled                  // every key was disabled by an operator
)

var kindNames = [...]string{"unknown", "rate_limited", "auth_failed", "model_unavailable", "all_disabled"}

// String returns the kind as metrics name it, such as "rate_limited".
func (k Kind) String() string { return nameOf(kindNames[:], k) }

// Error says that no key of the pool could be chosen. It never holds a key or a name of one.
type Error struct {
	Kind       Kind
	RetryAfter time.Duration // the smallest wait until a key may be usable, not rounded; 0: at once, or waiting does not help
	Reason     Class         // what stands in the way of the keys when it is the same for all; Unknown: several things; None: nothing does, or all are disabled
	Group      bool          // the walker was held within the group of the pool's first key
	Model      bool          // the walker left out keys parked for a model
}

// Error returns a message that may reach the client.
func (e *Error) Error() string {
	var b strings.Builder
	switch e.Kind {
	case RateLimited:
		b.WriteString("all configured keys are rate-limited")
		if e.Reason == Quota {
			b.WriteString(": the provider reports no credit, or a spending limit")
		}
	case AuthFailed:
		b.WriteString("all configured keys failed authentication")
	case ModelUnavailable:
		b.WriteString("no configured key may use this model")
	case AllDisabled:
		b.WriteString("all configured keys are disabled; enable one")
	case KindUnknown:
		fallthrough
	default:
		return "key pool error"
	}
	if e.Group {
		b.WriteString("; only the group of the pool's first key was asked, since this request concerns state kept at the provider")
	}
	if e.RetryAfter > 0 {
		b.WriteString(" (retry after " + ceilSeconds(e.RetryAfter).String() + ")")
	}
	return b.String()
}

// ceilSeconds rounds up to whole seconds, as Retry-After counts.
func ceilSeconds(d time.Duration) time.Duration {
	if r := d % time.Second; r != 0 {
		return d - r + time.Second
	}
	return d
}
