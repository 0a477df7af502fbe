package extproc

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/keyturn/keyturn/internal/dialect"
	"github.com/keyturn/keyturn/internal/wire"
)

// Stay says which requests belong to one conversation, where the pool's keys are chosen by keypool.Spread: they stay with one key. Those that say
// nothing of it are each a conversation of their own.
type Stay struct {
	By     StayBy
	Header string // the request header that names a conversation, in lower case; with StayByHeader
}

// StayBy is what names a conversation.
type StayBy uint8

// What a conversation is known by. Sessions and headers are told apart by the client's name too.
const (
	StayBySession StayBy = iota // the header in which an agent says what it calls the conversation; else prompt_cache_key, where a body is read
	StayByClient                // the client's name, by Envoy's authentication
	StayByHeader                // Stay.Header
	StayByNothing               // every request is one of its own
)

const stayHeaderPrefix = "header:"

// String returns "session", "client", "header:NAME" or "none": what ParseStay reads.
func (s Stay) String() string {
	switch s.By {
	case StayBySession:
		return "session"
	case StayByClient:
		return "client"
	case StayByHeader:
		return stayHeaderPrefix + s.Header
	case StayByNothing:
		return "none"
	}
	return fmt.Sprintf("stay %d", s.By)
}

// ParseStay reads what Stay.String returns. The name of a header may be of any case; those that hold credentials, and Keyturn's own, name nothing.
func ParseStay(text string) (Stay, bool) {
	for _, by := range []StayBy{StayBySession, StayByClient, StayByNothing} {
		if s := (Stay{By: by}); s.String() == text {
			return s, true
		}
	}
	name, ok := strings.CutPrefix(text, stayHeaderPrefix)
	name = strings.ToLower(name)
	ok = ok && isToken(name) && !strings.HasPrefix(name, wire.HeaderPrefix)
	for _, names := range [][]string{wire.Credentials, wire.Secrets} {
		for _, secret := range names {
			ok = ok && name != secret
		}
	}
	return Stay{By: StayByHeader, Header: name}, ok
}

// isToken reports whether a name can be that of a header: RFC 9110, section 5.6.2, in lower case.
func isToken(name string) bool {
	return name != "" && len(name) <= 100 && strings.Trim(name, "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz") == ""
}

// conversation is the one that a request belongs to, as a hash, and whether the request says so.
func (x *exchange) conversation(m *message) (hash uint64, named bool) {
	var name []byte
	switch s := x.pool.stay; s.By {
	case StayBySession:
		for _, header := range wire.SessionHeaders {
			if name = m.header(header); len(name) > 0 {
				break
			}
		}
	case StayByClient:
		name = x.front.client
	case StayByHeader:
		name = m.header(s.Header)
	case StayByNothing:
	}
	if len(name) == 0 {
		if told, err := strconv.ParseUint(string(x.front.talk), 10, 64); err == nil && x.laterTurn {
			return told, true
		}
		return hashOf(x.front.recorded()), false // one key for all turns of a response
	}
	return hashOf(x.front.client, name), true
}

// joins takes the conversation of a Responses request from its body, where its headers name none: the client says there which prompts are cached together.
func (x *exchange) joins(body []byte) {
	if x.named || x.walker == nil || x.pool.stay.By != StayBySession || x.dialect != dialect.Responses || !x.pool.keys.Spreads() {
		return
	}
	if name := dialect.PromptCacheKey(body); name != "" {
		x.talk, x.named = hashOf(x.front.client, []byte(name)), true
		if x.tools != nil {
			x.tools.origin.Talk = x.talk
		}
	}
}

// hashOf is FNV-1a over the parts, each with its end: the same in every process.
func hashOf(parts ...[]byte) uint64 {
	const offset, prime = 14695981039346656037, 1099511628211
	h := uint64(offset)
	for _, p := range parts {
		for _, b := range p {
			h = (h ^ uint64(b)) * prime
		}
		h *= prime // as for a byte 0, which no header has
	}
	return h
}

// move is why a conversation is with another key than before: the label of keyturn_key_pool_moves_total.
type move uint8

const (
	stayed     move = iota
	moveRested      // its key could not be used
	moveFailed      // its key failed for this request
	moves
)

var moveNames = [moves]string{"", "rested", "failed"}

// served tells the pool that the key has served the conversation.
func (x *exchange) served() {
	if !x.named || !x.walker.Served(x.key) {
		return
	}
	x.moving = moveRested
	if len(x.triedBefore()) > 0 {
		x.moving = moveFailed
	}
}
