package keypool

import (
	"path"
	"strings"
	"time"
)

// Answer is what a provider answered, as far as the judgement needs it.
type Answer struct {
	Status int                      // HTTP status
	Header func(name string) string // value of a header, "" when absent; asked with lower-case names. nil: no headers
	Body   []byte                   // error body; empty: none, or not read
	Code   string                   // the error's code where it is not in the body: of an answer that a proxy made in the provider's place
	Now    time.Time                // the present, for dates in headers
}

// Verdict is the judgement over an answer, for Pool.Mark. The zero value blames nobody.
type Verdict struct {
	Class    Class
	Action   Action
	Scope    Scope
	Cooldown time.Duration // what the rule or the provider asks for, not yet clamped; 0: neither does
	Ruled    bool          // Cooldown is the rule's: it is not clamped
	Code     string        // the provider's error code, or else its type: at most 64 of [a-zA-Z0-9_.-]
}

// Classify judges an answer by the policy: by the error's code first, then its type, then the status. It is pure, and reads the error bodies of
// OpenAI, Anthropic, Gemini, Azure, OpenRouter and those who copy them. A status below 400 is no failure.
func Classify(p Policy, a Answer) Verdict {
	if a.Status < 400 {
		return Verdict{}
	}
	b := readProblem(a.Body)
	if a.Code != "" {
		b.code = a.Code
	}
	v := judge(p, a.Status, b)
	if v.Cooldown == 0 && v.Scope != ScopeRequest && v.Action != Retire {
		v.Cooldown = hint(a, b)
	}
	return v
}

// judge is Classify without the headers.
func judge(p Policy, status int, b problem) Verdict {
	v := Verdict{Class: classOf(status, b), Code: b.word()}
	r, ok := p.match(status, b)
	if !ok {
		r.Action = p.Preset.action(status, v.Class)
	}
	v.Action = r.Action
	v.Scope = scopeOf(v, r.For, b)
	if v.Scope != ScopeRequest {
		v.Cooldown, v.Ruled = r.For, r.For > 0
	}
	return v
}

// match returns the first rule for an answer.
func (p Policy) match(status int, b problem) (Rule, bool) {
	for _, r := range p.Rules {
		if (r.Status == 0 || r.Status == status) && (r.Code == "" || b.is(r.Code)) {
			return r, true
		}
	}
	return Rule{}, false
}

// is reports whether the glob matches one of the error's names for itself.
func (b problem) is(glob string) bool {
	for _, w := range b.words() {
		if ok, _ := path.Match(glob, w); ok && w != "" {
			return true
		}
	}
	return false
}

// action is the preset's table.
func (p Preset) action(status int, c Class) Action {
	if p == Lenient && status == 403 {
		return Surface
	}
	switch c {
	case RateLimit, Quota:
		return CoolDown
	case Credential:
		if p == Lenient {
			return CoolDown
		}
		return Retire
	case None, ModelAccess, ModelGone, Region, Transient, CallerFault, Unknown:
	}
	return Surface
}

// scopeOf says how far a verdict reaches. Credit is an organisation's, unless the provider says that it is the key's own, or a model's; and a rule
// that says for how long rests just the key for just that long.
func scopeOf(v Verdict, ruled time.Duration, b problem) Scope {
	switch {
	case v.Action == Surface:
		return ScopeRequest
	case v.Class == ModelAccess, v.Class == ModelGone:
		if v.Action == Retire {
			return ScopeKey
		}
		return ScopeKeyModel
	case v.Action == NextKey:
		return ScopeRequest
	case v.Action == Retire, v.Class != Quota, ruled != 0, b.ownLimit():
		return ScopeKey
	case b.perModel:
		return ScopeKeyModel
	}
	return ScopeGroup
}

// classOf tells what an answer of status 400 or more means.
func classOf(status int, b problem) Class {
	if status >= 500 {
		return Transient // whatever it says, a broken provider is not the key's fault
	}
	c := b.named()
	switch status {
	case 400:
		if c == None {
			return CallerFault
		}
		return c
	case 401, 403:
		if c == None {
			return Credential
		}
		return c
	case 402:
		return Quota
	case 404, 410:
		if c == ModelGone || c == ModelAccess {
			return ModelGone
		}
	case 408:
		return Transient
	case 429:
		switch c {
		case Quota, Transient, CallerFault:
			return c
		default:
			return RateLimit
		}
	}
	return CallerFault
}

// named is the class that the error gives itself, None when it does not.
func (b problem) named() Class {
	if b.moderated {
		return CallerFault
	}
	if b.perDay {
		return Quota
	}
	for _, s := range sayings {
		if strings.HasPrefix(b.message, s.prefix) && (s.word == "" || b.is(s.word)) {
			return s.class
		}
	}
	for _, w := range b.words() {
		if c := classOfWord(strings.ToLower(w)); c != None {
			return c
		}
	}
	return None
}
