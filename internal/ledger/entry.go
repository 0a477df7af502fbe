package ledger

import (
	"math"
	"regexp"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/keyturn/keyturn/internal/record"
	"github.com/keyturn/keyturn/internal/wire"
)

// Bounds of what is kept of an entry, in bytes.
const (
	maxEntry = 1 << 20 // larger ones are not read
	maxName  = 256     // names, models, user agents, paths
	maxID    = 64
	maxShort = 64
)

// part is what one log entry tells: of a client's request at the front, or of an attempt.
type part struct {
	front   bool
	cluster string // that the router chose; "" when none did
	id      string // of the client's request; what the front says counts only where its router ran

	start                   time.Time
	took                    time.Duration
	lastIn                  time.Duration // this and the next four: since start, zero where it did not happen
	toUpstream              time.Duration // first byte
	firstBack, lastBack     time.Duration // of the upstream's response
	firstByte, lastByte     time.Duration // of the response to the client
	attempts                int           // of the front's router
	flags                   uint32        // bits by the numbers of ResponseFlags' fields
	details                 string        // who made the response, and why
	status                  int
	bytesIn, bytesOut       int64
	method, path, userAgent string
	session, trace          string
	contentType, errorCode  string

	noted note
	usage *usage
}

// note is what Keyturn, or the front, has left in the metadata.
type note struct {
	id, pool, provider, kind, key, keyName string
	client, model, outcome, class, ending  string
	attempt, turn, turns, status, cut      int
	sent                                   int // requests of later turns
	wait                                   time.Duration
	calls                                  []wire.Call
	tokens                                 record.Usage // that Keyturn itself has read
}

// usage is what Envoy has read of the provider's answer.
type usage struct {
	model string
	record.Usage
}

// size is about what a part costs in memory, in bytes.
func (p *part) size() int {
	n := 1024 + len(p.path) + len(p.userAgent) + len(p.details)
	for i := range p.noted.calls {
		n += 128 + len(p.noted.calls[i].Tool)
	}
	return n
}

// readEntry reads an envoy.data.accesslog.v3.HTTPAccessLogEntry; nil: it is broken, or tells of what is not over.
func readEntry(b []byte, front bool) *part {
	p := &part{front: front}
	whole, over := true, true
	ok := each(b, func(f field) {
		switch f.num {
		case entryCommon:
			done, read := p.common(f.bytes)
			whole, over = whole && read, over && done
		case entryRequest:
			whole = p.request(f.bytes) && whole
		case entryResponse:
			whole = p.response(f.bytes) && whole
		}
	})
	if !ok || !whole || !over || p.start.IsZero() {
		return nil
	}
	if p.noted.id != "" {
		p.id = p.noted.id
	}
	return p
}

// common reads an AccessLogCommon.
func (p *part) common(b []byte) (over, ok bool) {
	over = true
	ok = each(b, func(f field) {
		switch f.num {
		case commonStart:
			p.start = instant(f.bytes)
		case commonLastIn:
			p.lastIn = duration(f.bytes)
		case commonFirstOut:
			p.toUpstream = duration(f.bytes)
		case commonFirstBack:
			p.firstBack = duration(f.bytes)
		case commonLastBack:
			p.lastBack = duration(f.bytes)
		case commonFirstDown:
			p.firstByte = duration(f.bytes)
		case commonLastDown:
			p.lastByte = duration(f.bytes)
		case commonCluster:
			p.cluster = text(f.bytes, maxName)
		case commonFlags:
			p.flags = readFlags(f.bytes)
		case commonMetadata:
			p.metadata(f.bytes)
		case commonDuration:
			p.took = duration(f.bytes)
		case commonAttempts:
			p.attempts = int(min(f.n, math.MaxInt32))
		case commonIntermediate:
			over = f.n == 0
		}
	})
	p.took = max(p.took, p.lastByte)
	return over, ok
}

// readFlags reads a ResponseFlags.
func readFlags(b []byte) (flags uint32) {
	each(b, func(f field) {
		if f.num < 32 && (f.n != 0 || f.bytes != nil) {
			flags |= 1 << f.num
		}
	})
	return flags
}

// has reports whether one of the flags is set.
func (p *part) has(flags ...int) bool {
	for _, f := range flags {
		if p.flags&(1<<f) != 0 {
			return true
		}
	}
	return false
}

// broken names what ended the response before its end; "" when nothing did.
func (p *part) broken() string {
	for _, f := range flagNames {
		if p.has(f.flag) {
			return f.name
		}
	}
	return ""
}

// request reads an HTTPRequestProperties.
func (p *part) request(b []byte) bool {
	path, headers := "", map[string]string{}
	ok := each(b, func(f field) {
		switch f.num {
		case requestMethod:
			p.method = corev3.RequestMethod_name[int32(min(f.n, math.MaxInt32))]
		case requestPath:
			path = pathOf(f.bytes)
		case requestUserAgent:
			p.userAgent = text(f.bytes, maxName)
		case requestOriginalPath:
			p.path = pathOf(f.bytes)
		case requestBodyBytes:
			p.bytesIn = count(f.n)
		case requestHeaders:
			name, value := entry(f.bytes)
			if len(name) <= maxShort {
				headers[string(name)] = text(value, maxName)
			}
		}
	})
	if p.path == "" {
		p.path = path
	}
	p.id = headers[wire.IDHeader]
	if len(p.id) > maxID {
		p.id = ""
	}
	p.trace = headers[wire.TraceHeader]
	for _, name := range wire.SessionHeaders {
		if s := strings.TrimSpace(headers[name]); s != "" {
			p.session = s
			break
		}
	}
	return ok
}

// pathOf is a path without its query, which may hold a credential, also where its beginning is escaped.
func pathOf(b []byte) string {
	path, _, _ := strings.Cut(text(b, maxName), "?")
	if at := escapedQuery.FindStringIndex(path); at != nil {
		path = path[:at[0]]
	}
	return path
}

var escapedQuery = regexp.MustCompile(`(?i)%(?:25)*3f`)

// response reads an HTTPResponseProperties.
func (p *part) response(b []byte) bool {
	return each(b, func(f field) {
		switch f.num {
		case responseCode:
			if s := wrapped(f.bytes); s < 1000 {
				p.status = int(s)
			}
		case responseBodyBytes:
			p.bytesOut = count(f.n)
		case responseHeaders:
			switch name, value := entry(f.bytes); string(name) {
			case "content-type":
				p.contentType = strings.ToLower(text(value, maxShort))
			case wire.ErrorHeader:
				p.errorCode = plain(text(value, maxShort))
			}
		case responseDetails:
			p.details = text(f.bytes, maxName)
		}
	})
}

// plain is a code as records have it: what has other characters in it is none.
func plain(code string) string {
	if strings.ContainsFunc(code, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("_.-", r)
	}) {
		return ""
	}
	return code
}

const usageName = "envoy.ai.token_usage"

// metadata reads an envoy.config.core.v3.Metadata.
func (p *part) metadata(b []byte) {
	each(b, func(f field) {
		if f.num != metadataPlain && f.num != metadataTyped {
			return
		}
		switch name, value := entry(f.bytes); {
		case f.num == metadataPlain && string(name) == wire.Namespace:
			p.noted.read(value)
		case f.num == metadataTyped && string(name) == usageName:
			p.usage = readUsage(one(value, anyValue).bytes)
		}
	})
}

// The fields of a note, by their names.
var (
	noteTexts = map[string]func(*note) *string{
		wire.PoolField: func(n *note) *string { return &n.pool }, wire.ProviderField: func(n *note) *string { return &n.provider },
		wire.KindField: func(n *note) *string { return &n.kind }, wire.KeyField: func(n *note) *string { return &n.key },
		wire.KeyNameField: func(n *note) *string { return &n.keyName }, wire.ClientField: func(n *note) *string { return &n.client },
		wire.ModelField: func(n *note) *string { return &n.model }, wire.OutcomeField: func(n *note) *string { return &n.outcome },
		wire.ClassField: func(n *note) *string { return &n.class }, wire.EndingField: func(n *note) *string { return &n.ending },
	}
	noteNumbers = map[string]func(*note) *int{
		wire.AttemptField: func(n *note) *int { return &n.attempt }, wire.TurnsField: func(n *note) *int { return &n.turns },
		wire.StatusField: func(n *note) *int { return &n.status }, wire.CutField: func(n *note) *int { return &n.cut },
		wire.SentField: func(n *note) *int { return &n.sent },
	}
	noteTokens = map[string]func(*note) *int64{
		wire.InputTokensField: func(n *note) *int64 { return &n.tokens.Input }, wire.OutputTokensField: func(n *note) *int64 { return &n.tokens.Output },
		wire.CacheReadField: func(n *note) *int64 { return &n.tokens.CacheRead }, wire.CacheWriteField: func(n *note) *int64 { return &n.tokens.CacheWrite },
		wire.ReasoningField: func(n *note) *int64 { return &n.tokens.Reasoning },
	}
)

// read reads a google.protobuf.Struct.
func (n *note) read(b []byte) {
	each(b, func(f field) {
		if f.num == structFields {
			n.set(entry(f.bytes))
		}
	})
}

func (n *note) set(name, value []byte) {
	if at := noteTexts[string(name)]; at != nil {
		*at(n) = word(value, maxName)
	} else if at := noteNumbers[string(name)]; at != nil {
		*at(n) = int(min(number(value), math.MaxInt32))
	} else if at := noteTokens[string(name)]; at != nil {
		*at(n) = int64(number(value))
	}
	switch string(name) {
	case wire.IDField:
		n.id = word(value, maxID)
	case wire.TurnField:
		n.turn = small(word(value, maxShort))
	case wire.WaitField:
		n.wait = time.Duration(min(number(value), maxSeconds) * float64(time.Second))
	case wire.CallsField:
		n.calls = wire.ReadCalls(word(value, wire.MaxMetadata))
	}
}

// small is a number from 0 to 9999 in digits, 0 for anything else.
func small(digits string) (n int) {
	if len(digits) > 4 {
		return 0
	}
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0
		}
		n = 10*n + int(c-'0')
	}
	return n
}

// readUsage reads an envoy.data.ai.v3.TokenUsage.
func readUsage(b []byte) *usage {
	u := &usage{}
	var status uint64
	each(b, func(f field) {
		switch f.num {
		case usageModel:
			u.model = text(f.bytes, maxName)
		case usageInput:
			u.Input = wrapped(f.bytes)
		case usageOutput:
			u.Output = wrapped(f.bytes)
		case usageInputDetails:
			u.CacheRead = wrapped(one(f.bytes, detailsCacheRead).bytes)
			u.CacheWrite = wrapped(one(f.bytes, detailsCacheWrite).bytes)
		case usageOutputDetails:
			u.Reasoning = wrapped(one(f.bytes, detailsReasoning).bytes)
		case usageStatus:
			status = f.n
		}
	})
	switch {
	case status == statusComplete:
		u.State = record.Complete
	case u.Input+u.Output > 0:
		u.State = record.Partial
	}
	return u
}
