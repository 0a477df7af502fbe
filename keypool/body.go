package keypool

import (
	"bytes"
	"cmp"
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// Bounds of what is read of an error body.
const (
	maxBodyBytes = 1 << 20 // a longer one is judged by its status alone
	maxNesting   = 4       // of errors within arrays, objects and strings
	maxItems     = 16      // of a list of details or limits
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
	reset      string        // x-ratelimit-reset of a spent limit, where OpenRouter hands the headers on in the body
	quota      bool          // Google names the quota that is spent,
	perDay     bool          // one per day,
	perModel   bool          // one per model
	moderated  bool          // OpenRouter: the input was flagged
	upstream   string        // OpenRouter: the provider behind it that sent the error, or "" when it is OpenRouter's own
	raw        string        // what that one said
	page       bool          // it is a page for people, as a firewall sends it, and says nothing of the key
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
	body = bytes.TrimSpace(bytes.TrimPrefix(bytes.TrimSpace(body), []byte("\xef\xbb\xbf")))
	if p, ok := unwrap(body, 0); ok {
		return p
	}
	if p, ok := unwrap(firstValue(body), 0); ok { // something follows it
		return p
	}
	if data := errorEvent(body); data != nil {
		if p, ok := unwrap(data, 0); ok {
			return p
		}
		body = data
	}
	return problem{message: string(body[:min(len(body), maxTextBytes)]), page: isPage(body)}
}

// isPage reports whether a body is HTML.
func isPage(body []byte) bool {
	start := bytes.ToLower(body[:min(len(body), 64)])
	return bytes.HasPrefix(start, []byte("<!doctype")) || bytes.HasPrefix(start, []byte("<html")) ||
		bytes.HasPrefix(start, []byte("<head")) || bytes.HasPrefix(start, []byte("<!--"))
}

// firstValue is the JSON object with which a body begins, nil where it begins with none.
func firstValue(body []byte) []byte {
	if len(body) == 0 || body[0] != '{' {
		return nil
	}
	var first json.RawMessage
	if json.NewDecoder(bytes.NewReader(body)).Decode(&first) != nil {
		return nil
	}
	return first
}

// errorEvent is the data of the first event called error, or else of the first that has some, where a body is server-sent events (WHATWG HTML,
// section 9.2.6); nil where it is not.
func errorEvent(body []byte) []byte {
	if !slices.ContainsFunc([]string{"data:", "event:", "id:", "retry:", ":"}, func(f string) bool { return bytes.HasPrefix(body, []byte(f)) }) {
		return nil
	}
	var first, data []byte
	name := ""
	body = bytes.ReplaceAll(bytes.ReplaceAll(body, []byte("\r\n"), []byte("\n")), []byte("\r"), []byte("\n"))
	for line := range bytes.SplitSeq(append(body, "\n\n"...), []byte("\n")) {
		field, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch {
		case len(line) == 0 && len(data) > 0 && name == "error":
			return data
		case len(line) == 0:
			if first == nil && len(data) > 0 {
				first = data
			}
			data, name = nil, ""
		case string(field) == "data":
			data = append(append(data, value...), '\n')
		case string(field) == "event":
			name = string(value)
		}
	}
	return first
}

// unwrap reads one JSON value: an error object, an array of them (Gemini), or a string that holds one (doubly encoded) or is a message itself.
func unwrap(raw []byte, depth int) (problem, bool) {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 || depth > maxNesting {
		return problem{}, false
	}
	switch raw[0] {
	case '[':
		p, ok := problem{}, false
		each(raw, 1, func(item json.RawMessage) { p, ok = unwrap(item, depth+1) })
		return p, ok
	case '"':
		var s string
		if json.Unmarshal(raw, &s) != nil {
			return problem{}, false
		}
		if p, ok := unwrap([]byte(s), depth+1); ok {
			return p, true
		}
		return problem{message: s[:min(len(s), maxTextBytes)], page: isPage([]byte(s))}, true
	case '{':
		return unwrapObject(raw, depth)
	}
	return problem{}, false
}

// each calls do for the first elements of a JSON array, at most n. It reads no further, so that a long array costs nothing.
func each(raw []byte, n int, do func(json.RawMessage)) {
	d := json.NewDecoder(bytes.NewReader(raw))
	if t, err := d.Token(); err != nil || t != json.Delim('[') {
		return
	}
	for ; n > 0 && d.More(); n-- {
		var item json.RawMessage
		if d.Decode(&item) != nil {
			return
		}
		do(item)
	}
}

// fields are those of an error object, wherever it stands. Fields of another type than expected are passed over.
type fields struct {
	Error    json.RawMessage `json:"error"`
	Errors   json.RawMessage `json:"errors"` // a list of errors
	Detail   json.RawMessage `json:"detail"` // FastAPI's envelope
	Code     text            `json:"code"`
	Type     text            `json:"type"`
	AWSType  text            `json:"__type"`
	Status   text            `json:"status"`
	Message  text            `json:"message"`
	Msg      text            `json:"msg"`
	Title    text            `json:"title"` // RFC 9457
	Details  json.RawMessage `json:"details"`
	Metadata json.RawMessage `json:"metadata"`

	Cloudflare json.RawMessage `json:"cloudflare_error"` // true where its firewall speaks in JSON
}

func unwrapObject(raw []byte, depth int) (problem, bool) {
	f, ok := readFields(raw)
	if !ok {
		return problem{}, false
	}
	for i, inner := range [...]json.RawMessage{f.Error, f.Errors, f.Detail} {
		if i > 0 && f.Code+f.Type+f.Status != "" { // it has names of its own, and these are details
			break
		}
		p, ok := unwrap(inner, depth+1)
		switch {
		case !ok, i > 0 && p.word() == "" && p.message == "":
			continue
		case p.word() != "", i == 0 && bytes.TrimSpace(inner)[0] == '{':
			return p, true
		}
		if p.page {
			return p, true
		}
		f.Message = text(p.message) // a text, beside which a code may stand
		break
	}
	return f.problem(depth), true // some compatible servers have no envelope
}

func readFields(raw []byte) (fields, bool) {
	var f fields
	err := json.Unmarshal(raw, &f)
	return f, err == nil
}

func (f fields) problem(depth int) problem {
	awsType := f.AWSType[strings.LastIndexByte(string(f.AWSType), '#')+1:]
	p := problem{
		code: cutCode(f.Code), kind: cmp.Or(cutCode(f.Type), cutCode(awsType)), status: cutCode(f.Status),
		message: string(cmp.Or(f.Message, f.Msg, f.Title)),
	}
	p.page = string(f.Cloudflare) == "true"
	p.readDetails(f.Details)
	p.readMetadata(f.Metadata)
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
	if len(raw) == 0 {
		return
	}
	if json.Unmarshal(raw, &one) == nil {
		p.reason = cutCode(one.ErrorCode)
		return
	}
	each(raw, maxItems, func(item json.RawMessage) {
		var d struct {
			Reason     text            `json:"reason"`
			RetryDelay text            `json:"retryDelay"`
			Violations json.RawMessage `json:"violations"`
			Metadata   json.RawMessage `json:"metadata"`
		}
		if json.Unmarshal(item, &d) != nil {
			return
		}
		if p.reason == "" {
			p.reason = cutCode(d.Reason)
		}
		if delay, err := time.ParseDuration(string(d.RetryDelay)); err == nil {
			p.retryDelay = max(p.retryDelay, delay)
		}
		var m struct {
			Limit text `json:"quota_limit"`
		}
		if len(d.Metadata) > 0 && json.Unmarshal(d.Metadata, &m) == nil {
			p.readQuota(string(m.Limit))
		}
		each(d.Violations, maxItems, func(item json.RawMessage) {
			var v struct {
				QuotaID text `json:"quotaId"`
			}
			if json.Unmarshal(item, &v) == nil {
				p.readQuota(string(v.QuotaID))
			}
		})
	})
}

// readQuota reads what a quota of Google's counts out of its name, such as GenerateRequestsPerDayPerProjectPerModel-FreeTier. Where several are spent,
// one that is not the model's, or lasts longer, decides.
func (p *problem) readQuota(name string) {
	if name == "" {
		return
	}
	day := strings.Contains(name, "PerDay")
	model := strings.Contains(name, "PerModel") || strings.Contains(name, "PerBaseModel")
	switch {
	case !p.quota, day && !p.perDay:
		p.quota, p.perDay, p.perModel = true, day, model
	case day == p.perDay:
		p.perModel = p.perModel && model
	}
}

// readMetadata reads what OpenRouter says beside an error.
func (p *problem) readMetadata(raw json.RawMessage) {
	var m struct {
		Flagged  json.RawMessage `json:"flagged_input"`
		Reasons  json.RawMessage `json:"reasons"`
		Provider text            `json:"provider_name"`
		Source   text            `json:"limit_source"`
		Raw      text            `json:"raw"`
		Headers  json.RawMessage `json:"headers"`
	}
	if len(raw) == 0 || json.Unmarshal(raw, &m) != nil {
		return
	}
	p.moderated = m.Flagged != nil || m.Reasons != nil
	p.upstream = string(m.Provider)
	if p.upstream == "" && strings.HasPrefix(string(m.Source), "upstream") {
		p.upstream = string(m.Source)
	}
	p.raw = string(m.Raw[:min(len(m.Raw), maxTextBytes)])
	var h struct {
		Remaining text `json:"x-ratelimit-remaining"`
		Reset     text `json:"x-ratelimit-reset"`
	}
	if len(m.Headers) > 0 && json.Unmarshal(m.Headers, &h) == nil && strings.TrimSpace(string(h.Remaining)) == "0" {
		p.reset = string(h.Reset)
	}
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
