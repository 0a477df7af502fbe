package keypool

import (
	"regexp"
	"strings"
)

// unconditional reports whether the rule matches every answer of its status.
func (r *Rule) unconditional() bool {
	return r.Code == "" && r.Message == "" && r.ContentType == "" && r.Provider == "" && r.Path == ""
}

// matches reports whether the rule is for this answer.
func (r *Rule) matches(a Answer, b problem) bool {
	return (r.Status == 0 || r.Status == a.Status) &&
		(r.Code == "" || b.is(r.Code)) &&
		(r.ContentType == "" || like(mediaType(a.header("content-type")), r.ContentType)) &&
		(r.Provider == "" || like(a.Provider, r.Provider) || b.upstream != "" && like(b.upstream, r.Provider)) &&
		(r.Path == "" || like(a.Path, r.Path)) &&
		(r.Message == "" || r.says(b))
}

// says reports whether the message has what the rule looks for. RE2 takes time in proportion to the message, which is bounded.
func (r *Rule) says(b problem) bool {
	re := r.expression
	if re == nil { // the policy is no pool's
		var err error
		if re, err = regexp.Compile(r.Message); err != nil {
			return false
		}
	}
	return re.MatchString(cutText(b.message)) || b.raw != "" && re.MatchString(cutText(b.raw))
}

func cutText(s string) string { return s[:min(len(s), maxTextBytes)] }

// mediaType is a content type without its parameters, in lower case.
func mediaType(v string) string {
	v, _, _ = strings.Cut(v, ";")
	return strings.ToLower(strings.TrimSpace(v))
}

// like reports whether a text is what a pattern says, in which "*" stands for any text. It takes time in proportion to the text for each "*".
func like(text, pattern string) bool {
	first, rest, more := strings.Cut(pattern, "*")
	if !more {
		return text == pattern
	}
	text, ok := strings.CutPrefix(text, first)
	for ok {
		var literal string
		if literal, rest, more = strings.Cut(rest, "*"); !more {
			return strings.HasSuffix(text, literal)
		}
		_, text, ok = strings.Cut(text, literal)
	}
	return false
}
