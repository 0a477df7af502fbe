package keypool

import (
	"cmp"
	"path"
	"regexp"
	"strings"
	"time"
)

// Answer is what a provider answered, as far as the judgement needs it.
type Answer struct {
	Status   int                      // HTTP status
	Header   func(name string) string // value of a header, several joined by ", ", "" when absent; asked with lower-case names. nil: no headers
	Body     []byte                   // error body, without its content coding; empty: none, or not read
	Code     string                   // the error's code where it is not in the body: of an answer that a proxy made in the provider's place
	Now      time.Time                // the present, for dates in headers
	Path     string                   // path of the request, without its query, for rules and for limits of a model that it names
	Model    string                   // the model that was asked for; "": not known
	Provider string                   // the provider's name, for rules
}

func (a Answer) header(name string) string {
	if a.Header == nil {
		return ""
	}
	return a.Header(name)
}

// Verdict is the judgement over an answer, for Pool.Mark. The zero value blames nobody.
type Verdict struct {
	Class    Class
	Action   Action
	Scope    Scope
	Cooldown time.Duration // what the rule or the provider asks for, not yet clamped; 0: neither does
	Ruled    bool          // Cooldown is the rule's: it is not clamped
	Code     string        // the provider's error code, or else its type: at most 64 of [a-zA-Z0-9_.-]

	// Weak says that it retires a key for the words of a message alone, without a status, a code or a type that says the same: see Spare.
	Weak bool
}

// Spare is the verdict over a further key of a request in which a key was retired on weak evidence. Where two keys are told the same words, the
// request or the way to the provider may be at fault: the key is not blamed, and a later request retires it if it is told so again.
func (v Verdict) Spare() Verdict {
	if v.Weak {
		v.Action, v.Scope, v.Weak = NextKey, ScopeRequest, false
	}
	return v
}

// Classify judges an answer by the policy. It is pure, and reads the error bodies of OpenAI, Anthropic, Gemini, Azure, OpenRouter and many others. A
// key is blamed on positive evidence only: 401, a rate limit, or a code, a type or words that say that the key, its account or its organisation is
// wrong, disabled or out of credit. A status below 400 is no failure.
func Classify(p Policy, a Answer) Verdict {
	if a.Status < 400 {
		return Verdict{}
	}
	b := readProblem(a.Body)
	if a.Code != "" {
		b.code = a.Code
	}
	if n := a.header("content-length"); b.silent() && n != "" && n != "0" && strings.HasSuffix(mediaType(a.header("content-type")), "html") {
		b.page = true // it was not read, or this answers a HEAD
	}
	v := judge(p, a, b)
	if v.Cooldown == 0 && v.Scope != ScopeRequest && v.Action != Retire {
		v.Cooldown = hint(a, b)
	}
	return v
}

// judge is Classify without the headers.
func judge(p Policy, a Answer, b problem) Verdict {
	head := headOf(b.message)
	class, sure := b.classOf(a.Status, head)
	v := Verdict{Class: class, Code: b.word()}
	r, ruled := p.match(a, b)
	if !ruled {
		r.Action = p.Preset.action(a.Status, v.Class)
		if a.Status == 403 && p.Preset == Strict && b.silent() {
			r.Action = NextKey // to a HEAD, for one: there is nothing to hand on either
		}
	}
	v.Action = r.Action
	v.Weak = v.Action == Retire && !sure && !ruled
	v.Scope = scopeOf(v, r.For, b, head)
	switch {
	case v.Scope == ScopeKey && v.Class == RateLimit && r.For == 0 && b.ofModel(a, head):
		v.Scope = ScopeKeyModel
	case v.Action == Surface && !ruled && v.Class == ModelAccess && a.Status == 403 && names(head, strings.ToLower(a.Model)):
		v.Scope = ScopeKeyModel // the client reads why, and its next request for the model has another key
	}
	if v.Scope != ScopeRequest {
		v.Cooldown, v.Ruled = r.For, r.For > 0
	}
	return v
}

// match returns the first rule for an answer.
func (p Policy) match(a Answer, b problem) (Rule, bool) {
	for i := range p.Rules {
		if r := &p.Rules[i]; r.matches(a, b) {
			return *r, true
		}
	}
	return Rule{}, false
}

// silent reports whether the body says nothing, or could not be read.
func (b problem) silent() bool { return b.message == "" && b.word() == "" && !b.page && !b.moderated }

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
	case Elsewhere:
		return NextKey
	case CallerFault:
		if status == 402 { // too large for this key's credit; another may have more
			return NextKey
		}
	case Unknown:
		if status != 403 {
			return NextKey
		}
	case None, ModelAccess, ModelGone, Region, Transient:
	}
	return Surface
}

// scopeOf says how far a verdict reaches. Credit is an organisation's, unless the provider says that it is the key's own, or a model's; and a rule
// that says for how long rests just the key for just that long.
func scopeOf(v Verdict, ruled time.Duration, b problem, head string) Scope {
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
	case v.Action == Retire, v.Class != Quota, ruled != 0, strings.HasPrefix(head, ownLimit):
		return ScopeKey
	case b.perModel:
		return ScopeKeyModel
	}
	return ScopeGroup
}

// classOf tells what an answer of status 400 or more means, and whether it is sure: by the status, a code or a type, rather than by words alone.
func (b problem) classOf(status int, head string) (c Class, sure bool) {
	if status >= 500 || status == 408 {
		return Transient, true // whatever it says, a broken provider is not the key's fault
	}
	if c := b.classBehind(status); c != None {
		return c, false
	}
	said, sure := b.named(status, head)
	c = settled(status, said)
	return c, sure || c != said || status == 401
}

// settled is what an error means that comes with a status and gives itself a class, None when it does not.
func settled(status int, c Class) Class {
	switch status {
	case 400:
		return cmp.Or(c, CallerFault)
	case 401:
		return cmp.Or(c, Credential)
	case 402:
		if c != CallerFault && c != Credential {
			return Quota
		}
		return c
	case 403:
		return cmp.Or(c, Unknown)
	case 404, 410:
		switch c {
		case ModelGone, ModelAccess:
			return ModelGone
		case Elsewhere:
			return c
		default:
		}
	case 429:
		if c != Quota && c != Transient && c != CallerFault {
			return RateLimit
		}
		return c
	}
	return CallerFault
}

// classBehind is what an answer means that the provider did not make: a page of a firewall, a proxy or a login, or an error of another provider, which
// has seen another key than the pool's. None: it may be the provider's own all the same.
func (b problem) classBehind(status int) Class {
	relayed := b.upstream != "" && !b.moderated
	switch status {
	case 401, 403:
		if b.page || relayed {
			return Unknown
		}
	case 402:
		if b.page {
			return Unknown
		}
	case 429:
		switch {
		case b.page:
			return Unknown
		case relayed:
			return Transient
		}
	}
	return None
}

// named is the class that the error gives itself, None when it does not, and whether a code or a type says so.
func (b problem) named(status int, head string) (c Class, sure bool) {
	if b.moderated {
		return CallerFault, true
	}
	if b.perDay {
		return Quota, true
	}
	if c := classOfMessage(status, b, head); c != None {
		return c, false
	}
	for _, w := range b.words() {
		if c = classOfWord(status, w); c != None {
			break
		}
	}
	switch {
	case c == None:
		return classOfPhrase(status, head, None), false
	case status == 429 && c == RateLimit && classOfPhrase(status, head, Transient) != None:
		return Transient, false // it is everybody's
	}
	return c, true
}

// aModel finds that a message is about a model.
var aModel = regexp.MustCompile(`\b(?:for|of|on|per|specific to)(?: the| this)?(?: base)? (?:model|deployment)\b|\bthis (?:model|deployment)\b|\bmodel: |base_model|per_model`)

// saysModel is a quick look before the expression.
func saysModel(head string) bool {
	return strings.Contains(head, "model") || strings.Contains(head, "deployment")
}

// ofModel reports whether a rate limit is that of the model rather than the key's: the path, the quota's name or the message names it.
func (b problem) ofModel(a Answer, head string) bool {
	return b.perModel || saysModel(head) && aModel.MatchString(head) || names(a.Path, a.Model) || names(head, strings.ToLower(a.Model))
}

// names reports whether a text has a name in it, as a word.
func names(text, name string) bool {
	if name == "" {
		return false
	}
	for from := 0; ; {
		i := strings.Index(text[from:], name)
		if i < 0 {
			return false
		}
		i += from
		end := i + len(name)
		if (i == 0 || !nameByte(text[i-1])) && (end == len(text) || !nameByte(text[end])) {
			return true
		}
		from = end
	}
}

// nameByte tells the bytes of which names of models are made, without the colon and the slash, at which paths cut them, and the full stop, which
// ends sentences.
func nameByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_'
}
