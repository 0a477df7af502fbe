package messages

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"hash"
	"slices"

	"github.com/keyturn/keyturn/internal/scripted/talk"
)

// binding binds thoughts to the conversation before them, as Anthropic's preserved Exchange does: a thought's signature holds for
// that thought after that system prompt, those tools and those messages, and nowhere else. What the model does not see does not
// count: how the JSON is written, cache_control, a null, a string in place of a block of text, and where one message of a role ends
// and the next begins.
type binding struct {
	before  hash.Hash // of all that comes before; nil where nobody thinks
	thought bool      // the answer has thought
}

// bind begins a conversation.
func bind(t *talk.Told) *binding {
	b := &binding{before: sha256.New()}
	for _, block := range talk.Blocks(t.System) {
		b.add("system", block.Raw)
	}
	for _, tool := range t.RawTools {
		b.add("tools", tool)
	}
	return b
}

// binding is the state after the request's messages, where the answer begins. It is only kept for answers that think.
func (x exchange) binding(said []talk.Part) *binding {
	if !slices.ContainsFunc(said, talk.Part.Thinks) {
		return &binding{}
	}
	t := x.Told()
	b := bind(t)
	for _, m := range t.Messages {
		for _, block := range talk.Blocks(m.Content) {
			b.add(m.Role, block.Raw)
		}
	}
	return b
}

// add goes on after a block.
func (b *binding) add(role string, block json.RawMessage) {
	if b.before == nil {
		return
	}
	b.before.Write([]byte(role))
	b.before.Write([]byte{0})
	b.before.Write(canonical(block))
	b.before.Write([]byte{'\n'})
}

// spoke goes on after the blocks of an answer. The provider hears which calls came after a thought.
func (x exchange) spoke(thoughts *binding, blocks []any) {
	if thoughts.before == nil {
		return
	}
	for _, b := range blocks {
		thoughts.add("assistant", talk.Encode(b))
		switch b := b.(type) {
		case thinkingBlock, redactedBlock:
			thoughts.thought = true
		case toolUseBlock:
			if thoughts.thought {
				x.Thinks(b.ID)
			}
		}
	}
}

// sign is the signature of a thought at this place.
func (b *binding) sign(thought string) string {
	if b.before == nil {
		return ""
	}
	return base64.StdEncoding.EncodeToString(append(talk.Digest("thought", thought), b.before.Sum(nil)[:talk.DigestSize]...))
}

// verify says whether a signature is the one of this thought, and whether it holds at this place.
func (b *binding) verify(thought, signature string) (genuine, bound bool) {
	raw, err := base64.StdEncoding.DecodeString(signature)
	if err != nil || len(raw) != 2*talk.DigestSize {
		return false, false
	}
	genuine = subtle.ConstantTimeCompare(raw[:talk.DigestSize], talk.Digest("thought", thought)) == 1
	return genuine, genuine && bytes.Equal(raw[talk.DigestSize:], b.before.Sum(nil)[:talk.DigestSize])
}

// canonical is a JSON value without what the model does not see.
func canonical(raw json.RawMessage) []byte {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil {
		return raw
	}
	return talk.Encode(seen(v))
}

func seen(v any) any {
	switch v := v.(type) {
	case []any:
		for i := range v {
			v[i] = seen(v[i])
		}
	case map[string]any:
		delete(v, "cache_control")
		if text, ok := v["content"].(string); ok && v["type"] == "tool_result" {
			v["content"] = []any{map[string]any{"type": "text", "text": text}}
		}
		if c, ok := v["caller"].(map[string]any); ok && c["type"] == "direct" {
			delete(v, "caller")
		}
		for name, member := range v {
			if member == nil {
				delete(v, name)
				continue
			}
			v[name] = seen(member)
		}
	}
	return v
}
