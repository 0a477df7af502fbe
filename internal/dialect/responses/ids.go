package responses

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"strings"
)

// An mcp_call item of Keyturn's has an id that the call can be made again of, without memory. It is at most maxShown letters, digits, - and _,
// which is what OpenAI takes ("string too long. Expected a string with maximum length 64"):
//
//	mcp-, then how the two ids are written, the length of the first, the id of the function_call item, and the call's id
//
// Where both have no room the first is left out: a provider needs it only where the client sends a mere reference. A call's id that has none
// either is left out too, and the item's own takes its place. The provider's own items have an underscore after mcp.
const (
	mcpPrefix = "mcp-"
	mcpHead   = len(mcpPrefix) + 2
	maxShown  = 64
)

// Bits of how they are written: two for each id.
const (
	writtenMore = 1 << 4 // the turn has called one before: its calls stand together in what the provider gets, and their results after all
	writtenHash = 1 << 5 // none of them is there
)

// Ways of writing an id.
const (
	asItIs    = iota
	unnamed   // without what providers begin it with
	ofHex     // likewise; the rest is bytes in hex, as OpenAI's are
	otherwise // bytes in base64
)

const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

var base64url = base64.RawURLEncoding.Strict()

// written is the shortest way to write an id that may begin with a name.
func written(id, name string) (text string, way int) {
	text, way = base64url.EncodeToString([]byte(id)), otherwise
	rest, named := strings.CutPrefix(id, name)
	plain := strings.Trim(id, digits) == "" && !strings.ContainsFunc(id, func(r rune) bool { return !strings.ContainsRune(digits, r) })
	if b, err := hex.DecodeString(rest); named && err == nil && len(rest) > 2 && hex.EncodeToString(b) == rest {
		return base64url.EncodeToString(b), ofHex
	}
	switch {
	case plain && named && rest != "":
		return rest, unnamed
	case plain:
		return id, asItIs
	}
	return text, way
}

// read is the id that was written so.
func read(text, name string, way int) (string, bool) {
	switch way {
	case unnamed:
		return name + text, true
	case ofHex, otherwise:
		b, err := base64url.DecodeString(text)
		if way == ofHex {
			return name + hex.EncodeToString(b), err == nil
		}
		return string(b), err == nil
	}
	return text, true
}

const (
	functionName = "fc_"
	callName     = "call_"
)

// mcpID is the id of the mcp_call item of a call.
func mcpID(functionID, callID string, more bool) string {
	head := 0
	if more {
		head = writtenMore
	}
	function, ways := written(functionID, functionName)
	call, way := written(callID, callName)
	if mcpHead+len(function)+len(call) > maxShown {
		function, ways = "", asItIs
	}
	if mcpHead+len(call) > maxShown {
		sum := sha256.Sum256([]byte(functionID + "\x00" + callID))
		return mcpPrefix + string(digits[head|writtenHash]) + string(digits[0]) + base64url.EncodeToString(sum[:])
	}
	return mcpPrefix + string(digits[head|ways<<2|way]) + string(digits[len(function)]) + function + call
}

// ownID takes such an id apart; false for those of the provider's own MCP calls.
func ownID(id string) (functionID, callID string, more, ok bool) {
	if !strings.HasPrefix(id, mcpPrefix) {
		return dottedID(id)
	}
	if len(id) <= mcpHead || len(id) > maxShown {
		return "", "", false, false
	}
	head, length := strings.IndexByte(digits, id[mcpHead-2]), strings.IndexByte(digits, id[mcpHead-1])
	rest := id[mcpHead:]
	switch {
	case head < 0 || length < 0 || length >= len(rest):
		return "", "", false, false
	case head&writtenHash != 0:
		return "", id, head&writtenMore != 0, head&^writtenMore == writtenHash && length == 0
	}
	if length > 0 {
		if functionID, ok = read(rest[:length], functionName, head>>2&3); !ok {
			return "", "", false, false
		}
	}
	callID, ok = read(rest[length:], callName, head&3)
	return functionID, callID, head&writtenMore != 0, ok
}

// dottedID takes an id apart as Keyturn wrote them before: mcp_, the one id, a dot, a plus sign if the turn has called one before, the other.
func dottedID(id string) (functionID, callID string, more, ok bool) {
	rest, isMCP := strings.CutPrefix(id, "mcp_")
	functionID, callID, ok = strings.Cut(rest, ".")
	if !isMCP || !ok || len(id) > maxID {
		return "", "", false, false
	}
	callID, more = strings.CutPrefix(callID, "+")
	return strings.NewReplacer("%25", "%", "%2E", ".").Replace(functionID), callID, more, callID != ""
}

// maxID bounds such ids, in bytes.
const maxID = 1024
