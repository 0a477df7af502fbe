package keypool

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keyturn/keyturn/internal/setting"
)

// Class says what an answer means, whoever sent it.
type Class uint8

// The classes of an answer, from the provider's error code, else its type, else the status.
const (
	None        Class = iota // no failure
	Credential               // the key is wrong, revoked or may not be used
	Quota                    // no credit, or a spending limit: waiting a minute does not cure it
	RateLimit                // too many requests or tokens for now
	ModelAccess              // the key may not use this model
	ModelGone                // the model does not exist, or no longer
	Region                   // the provider does not serve where the request came from
	Elsewhere                // the request names what another organisation's key has stored, or encrypted
	Transient                // the provider is overloaded or broken
	CallerFault              // the request itself is at fault
	Unknown                  // none of these
)

var classNames = [...]string{
	"none", "credential", "quota", "rate_limit", "model_access", "model_gone", "region", "elsewhere", "transient", "caller_fault", "unknown",
}

// String returns the class as metrics and logs name it, such as "rate_limit".
func (c Class) String() string { return nameOf(classNames[:], c) }

// Action says what follows from an answer.
type Action uint8

// The actions of a policy.
const (
	Surface  Action = iota // hand the answer to the client
	NextKey                // try the next key, blame none
	CoolDown               // rest the key for a time, try the next
	Retire                 // make the key Permanent, try the next
)

var actionNames = [...]string{"surface", "next_key", "cooldown", "permanent"}

// String returns the action as the configuration names it: surface, next_key, cooldown or permanent.
func (a Action) String() string { return nameOf(actionNames[:], a) }

// ParseAction reads an action as the configuration names it.
func ParseAction(s string) (Action, error) { return parse[Action]("action", actionNames[:], s) }

// Scope says how far a failure reaches.
type Scope uint8

// The scopes of a failure.
const (
	ScopeRequest  Scope = iota // this request only
	ScopeKey                   // the key, whatever it is used for
	ScopeKeyModel              // the key for one model
	ScopeGroup                 // every key of the key's group
)

var scopeNames = [...]string{"request", "key", "key_model", "group"}

// String returns the scope as logs name it.
func (s Scope) String() string { return nameOf(scopeNames[:], s) }

// Preset is a named table from classes to actions.
type Preset uint8

// The presets.
const (
	Strict  Preset = iota // a bad credential retires the key
	Lenient               // 401 rests the key for the default cooldown, 403 is surfaced
)

var presetNames = [...]string{"strict", "lenient"}

// String returns the preset as the configuration names it: strict or lenient.
func (p Preset) String() string { return nameOf(presetNames[:], p) }

// ParsePreset reads a preset as the configuration names it.
func ParsePreset(s string) (Preset, error) { return parse[Preset]("preset", presetNames[:], s) }

// Rule replaces the preset's action for the answers it matches.
type Rule struct {
	Status int           // HTTP status; 0 matches any
	Code   string        // glob (path.Match) over the error's code, reason, status word and type; "" matches any
	Action Action        // what to do
	For    time.Duration // how long to rest the key or, with NextKey, the key for this model, whatever the Cooldown's bounds; 0: the provider's hint, else the default

	// Further conditions; see rule.go.
	Message     string // RE2 expression, found anywhere in the error's message; "" matches any
	ContentType string // pattern over the answer's content type, without its parameters; "*" stands for any text. "" matches any
	Provider    string // pattern over the provider's name, and that of the provider behind it that an aggregator names
	Path        string // pattern over the request's path, without its query

	expression *regexp.Regexp // Message; nil: not compiled yet
}

// Policy decides what to do about an answer: the first rule that matches, else the preset.
type Policy struct {
	Preset Preset
	Rules  []Rule
}

// Concerns reports whether an answer of this status may be more than surfaced, so that its body must be read before deciding.
func (p Policy) Concerns(status int) bool {
	if status < 400 {
		return false
	}
	for _, r := range p.Rules {
		switch {
		case r.Status != 0 && r.Status != status:
		case r.Action != Surface:
			return true
		case r.unconditional(): // always matches, so nothing after it counts
			return false
		}
	}
	switch status {
	case 400, 401, 402, 429:
		return true
	case 403:
		return p.Preset != Lenient
	}
	return false
}

// check looks for faults, and compiles what the rules have to be compiled.
func (p Policy) check() (found setting.Problems) {
	if int(p.Preset) >= len(presetNames) {
		found.Add("preset", "found %d; write %s", p.Preset, strings.Join(presetNames[:], " or "))
	}
	var sound []int // the rules without a fault
	for i := range p.Rules {
		r := &p.Rules[i]
		faults := r.check()
		found.AddWithin(setting.Item("rules", i), faults)
		if len(faults) > 0 {
			continue
		}
		first := slices.IndexFunc(sound, func(j int) bool { return p.Rules[j].covers(r) })
		sound = append(sound, i)
		if first >= 0 {
			early := sound[first]
			found.Add(setting.Item("rules", i), "is never reached: rules[%d] matches the same answers first; move it up, or remove one", early).Beside = setting.Item("rules", early)
		}
	}
	return found
}

func (r *Rule) check() (found setting.Problems) {
	if r.Status == 0 && r.unconditional() {
		found.Add("", "would match every answer; write a status, a code, a message, or several")
	}
	if r.Status != 0 {
		setting.Range(&found, "status", r.Status, 400, 599, strconv.Itoa)
	}
	if _, err := path.Match(r.Code, ""); err != nil {
		found.Add("code", "found %q; write a pattern such as insufficient_*", r.Code)
	}
	if r.Message != "" {
		var err error
		if r.expression, err = regexp.Compile(r.Message); err != nil {
			found.Add("message", "%v; write a regular expression (RE2)", err)
		}
	}
	switch {
	case int(r.Action) >= len(actionNames):
		found.Add("action", "found %d; write %s", r.Action, strings.Join(actionNames[:], " or "))
	case r.For != 0 && r.Action != CoolDown && r.Action != NextKey:
		found.Add("for", "says how long a key rests, and the action is %v; write action: cooldown, or remove it", r.Action).Beside = "action"
	case r.For != 0:
		setting.Range(&found, "for", r.For, ShortestTime, LongestTime, setting.Duration)
	}
	return found
}

// covers reports whether the rule surely matches whatever the later one does.
func (r *Rule) covers(later *Rule) bool {
	wider := func(early, late string) bool { return early == "" || early == late }
	return (r.Status == 0 || r.Status == later.Status) && wider(r.Code, later.Code) && wider(r.Message, later.Message) &&
		wider(r.ContentType, later.ContentType) && wider(r.Provider, later.Provider) && wider(r.Path, later.Path)
}

func nameOf[T ~uint8](names []string, v T) string {
	if int(v) < len(names) {
		return names[v]
	}
	return fmt.Sprintf("%d", uint8(v))
}

func parse[T ~uint8](what string, names []string, s string) (T, error) {
	for i, n := range names {
		if n == s {
			return T(i), nil
		}
	}
	return 0, fmt.Errorf("%s %q is not one of %s", what, s, strings.Join(names, ", "))
}
