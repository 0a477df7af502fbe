package keypool

import (
	"bytes"
	"cmp"
	"encoding/json"
	"strings"
	"time"
)

const (
	maxBodyBytes = 1 << 20 // a longer error body is judged by its status alone
	maxNesting   = 4       // of errors within arrays and strings
	maxCodeBytes = 64
)

// problem is what an error body says.
type problem struct {
	code    string // error.code
	reason  string // Google's ErrorInfo.reason, or Anthropic's details.error_code
	kind    string // error.type
	status  string // Google's status word
	message string

	retryDelay time.Duration // Google's RetryInfo
	perDay     bool          // Google's QuotaFailure names a quota per day
	perModel   bool          // and per model
	moderated  bool          // OpenRouter: the input was flagged
}

// words are the error's own names for itself, the most telling first.
func (p problem) words() [4]string { return [4]string{p.code, p.reason, p.kind, p.status} }

// word is the first of the words that names the error, else the first.
func (p problem) word() string {
	first := ""
	for _, w := range p.words() {
		if named(w) {
			return w
		}
		first = cmp.Or(first, w)
	}
	return first
}

// named reports whether a word names an error, rather than to repeat the HTTP status.
func named(word string) bool { return word != "" && (word[0] < '0' || word[0] > '9') }

// readProblem reads an error body of any provider. What it cannot read is left empty.
func readProblem(body []byte) problem {
	if len(body) > maxBodyBytes {
		return problem{}
	}
	p, ok := unwrap(body, 0)
	if !ok {
		p.message = string(body[:min(len(body), maxTextBytes)])
	}
	return p
}

// unwrap reads one JSON value: an error object, an array of them (Gemini), or a string that holds one (doubly encoded).
func unwrap(raw []byte, depth int) (problem, bool) {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 || depth > maxNesting {
		return problem{}, false
	}
	switch raw[0] {
	case '[':
		var list []json.RawMessage
		if json.Unmarshal(raw, &list) != nil || len(list) == 0 {
			return problem{}, false
		}
		return unwrap(list[0], depth+1)
	case '"':
		var s string
		if json.Unmarshal(raw, &s) != nil {
			return problem{}, false
		}
		return unwrap([]byte(s), depth+1)
	case '{':
		return unwrapObject(raw, depth)
	}
	return problem{}, false
}

// fields are those of an error object, wherever it stands. Fields of another type than expected are passed over.
type fields struct {
	Error    json.RawMessage `json:"error"`
	Code     text            `json:"code"`
	Type     text            `json:"type"`
	Status   text            `json:"status"`
	Message  text            `json:"message"`
	Details  json.RawMessage `json:"details"`
	Metadata json.RawMessage `json:"metadata"`
}

func unwrapObject(raw []byte, depth int) (problem, bool) {
	f, ok := readFields(raw)
	if !ok {
		return problem{}, false
	}
	inner := bytes.TrimSpace(f.Error)
	if len(inner) == 0 || bytes.Equal(inner, []byte("null")) {
		return f.problem(depth), true // some compatible servers have no envelope
	}
	switch inner[0] {
	case '{':
		g, ok := readFields(inner)
		if !ok {
			return problem{}, false
		}
		return g.problem(depth), true
	case '"':
		if p, ok := unwrap(inner, depth+1); ok {
			return p, true
		}
		var s string
		_ = json.Unmarshal(inner, &s)
		f.Message = text(s)
		return f.problem(depth), true
	}
	return problem{}, false
}

func readFields(raw []byte) (fields, bool) {
	var f fields
	err := json.Unmarshal(raw, &f)
	return f, err == nil
}

func (f fields) problem(depth int) problem {
	p := problem{code: cutCode(f.Code), kind: cutCode(f.Type), status: cutCode(f.Status), message: string(f.Message)}
	p.readDetails(f.Details)
	p.moderated = flagged(f.Metadata)
	// Only an error without a name of its own wraps another: the message of any other may quote the client.
	if m := strings.TrimSpace(p.message); !named(p.word()) && (strings.HasPrefix(m, "{") || strings.HasPrefix(m, "[")) {
		if q, ok := unwrap([]byte(m), depth+1); ok && q.word() != "" {
			return q
		}
	}
	return p
}

// readDetails reads Google's list of details (google.rpc.ErrorInfo, RetryInfo, QuotaFailure) or Anthropic's object.
func (p *problem) readDetails(raw json.RawMessage) {
	var one struct {
		ErrorCode text `json:"error_code"`
	}
	if json.Unmarshal(raw, &one) == nil {
		p.reason = cutCode(one.ErrorCode)
		return
	}
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil {
		return
	}
	for _, item := range list {
		var d struct {
			Reason     text `json:"reason"`
			RetryDelay text `json:"retryDelay"`
			Violations []struct {
				QuotaID text `json:"quotaId"`
			} `json:"violations"`
		}
		if json.Unmarshal(item, &d) != nil {
			continue
		}
		if p.reason == "" {
			p.reason = cutCode(d.Reason)
		}
		if delay, err := time.ParseDuration(string(d.RetryDelay)); err == nil {
			p.retryDelay = max(p.retryDelay, delay)
		}
		for _, v := range d.Violations {
			if strings.Contains(string(v.QuotaID), "PerDay") {
				p.perDay = true
				p.perModel = p.perModel || strings.Contains(string(v.QuotaID), "PerModel")
			}
		}
	}
}

// flagged reports whether OpenRouter's metadata tells of moderated input.
func flagged(raw json.RawMessage) bool {
	var m struct {
		Flagged json.RawMessage `json:"flagged_input"`
		Reasons json.RawMessage `json:"reasons"`
	}
	return json.Unmarshal(raw, &m) == nil && (m.Flagged != nil || m.Reasons != nil)
}

// text is a string or a number; any other value reads as "".
type text string

// UnmarshalJSON never fails.
func (t *text) UnmarshalJSON(b []byte) error {
	*t = ""
	if len(b) == 0 {
		return nil
	}
	switch c := b[0]; {
	case c == '"':
		var s string
		if json.Unmarshal(b, &s) == nil {
			*t = text(s)
		}
	case c == '-' || '0' <= c && c <= '9':
		*t = text(b)
	}
	return nil
}

// cutCode returns a code, at most 64 of [a-zA-Z0-9_.-], so that it may stand in a log or a metric; "" when it is a sentence or worse.
func cutCode(t text) string {
	for i := range len(t) {
		switch c := t[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_', c == '.', c == '-':
		default:
			return ""
		}
	}
	return string(t[:min(len(t), maxCodeBytes)])
}
