package mcp

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strconv"
	"strings"

	"github.com/keyturn/keyturn/internal/wire"
)

// A model's tool names are 1 to 64 of these characters: OpenAI's and Anthropic's rule.
const maxModelName = 64

// hashDigits is how many hexadecimal digits of a SHA-256 keep two names apart: 48 bits.
const hashDigits = 12

var (
	plainServer = regexp.MustCompile(`^[a-zA-Z0-9-]+$`) // no underscore: the first one after the prefix ends the server
	plainTool   = regexp.MustCompile(`^[a-zA-Z0-9_-]+$`)
	hashed      = regexp.MustCompile(`_[0-9a-f]{12}$`)
	unfit       = regexp.MustCompile(`[^a-zA-Z0-9_-]`)
)

// ModelName returns the name under which a model sees a tool: bmcp_<server>_<tool>, of 1 to 64 letters, digits, underscores and hyphens. Different
// pairs have different names. A name that would have other characters, be longer, be that of another pair too (a_b and c, a and b_c), or look
// like one made so, is cut and ends in twelve digits of a hash of the pair.
func ModelName(server, tool string) string {
	name := wire.ToolPrefix + server + "_" + tool
	if len(name) <= maxModelName && plainServer.MatchString(server) && plainTool.MatchString(tool) && !hashed.MatchString(name) {
		return name
	}
	sum := sha256.Sum256([]byte(strconv.Itoa(len(server)) + ":" + server + tool)) // the length says where the server ends
	suffix := "_" + hex.EncodeToString(sum[:])[:hashDigits]
	name = unfit.ReplaceAllString(strings.ToValidUTF8(name, "_"), "_")
	return name[:min(len(name), maxModelName-len(suffix))] + suffix
}

// match reports whether the whole of text fits the pattern, in which * stands for any text, also none.
func match(pattern, text string) bool {
	head, rest, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == text
	}
	if !strings.HasPrefix(text, head) {
		return false
	}
	text = text[len(head):]
	parts := strings.Split(rest, "*")
	last := parts[len(parts)-1]
	for _, part := range parts[:len(parts)-1] { // the leftmost place of each leaves the most for the next
		i := strings.Index(text, part)
		if i < 0 {
			return false
		}
		text = text[i+len(part):]
	}
	return strings.HasSuffix(text, last)
}
