package scripted

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"hash"
	"slices"
)

// binding binds thoughts to the conversation before them, as Anthropic's preserved thinking does: a thought's signature holds for
// that thought after that system prompt, those tools and those messages, and nowhere else. What the model does not see does not
// count: how the JSON is written, cache_control, a null, a string in place of a block of text, and where one message of a role ends
// and the next begins.
type binding struct {
	before  hash.Hash // of all that comes before; nil where nobody thinks
	thought bool      // the answer has thought
}

const half = sha256.Size / 2

// bind begins a conversation.
func bind(t *told) *binding {
	b := &binding{before: sha256.New()}
	for _, block := range blocksTold(t.System) {
		b.add("system", block.raw)
	}
	for _, tool := range t.Tools {
		b.add("tools", tool)
	}
	return b
}

// binding is the state after the request's messages, where the answer begins. It is only kept for answers that think.
func (x *exchange) binding(said []Part) *binding {
	if !slices.ContainsFunc(said, Part.thinks) {
		return &binding{}
	}
	t := x.heard()
	b := bind(t)
	for _, m := range t.Messages {
		for _, block := range blocksTold(m.Content) {
			b.add(m.Role, block.raw)
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

// spoke goes on after the blocks of an answer. A strict provider remembers which calls came after a thought.
func (x *exchange) spoke(thoughts *binding, blocks []any) {
	if thoughts.before == nil {
		return
	}
	for _, b := range blocks {
		thoughts.add("assistant", encode(b))
		switch b := b.(type) {
		case thinkingBlock, redactedBlock:
			thoughts.thought = true
		case toolUseBlock:
			if thoughts.thought && x.p.cfg.Strict {
				x.p.mu.Lock()
				x.p.ledger.thinks(b.ID, x.p.cfg.KeepRequests)
				x.p.mu.Unlock()
			}
		}
	}
}

// sign is the signature of a thought at this place.
func (b *binding) sign(thought string) string {
	if b.before == nil {
		return ""
	}
	return base64.StdEncoding.EncodeToString(append(digest("thought", thought), b.before.Sum(nil)[:half]...))
}

// verify says whether a signature is the one of this thought, and whether it holds at this place.
func (b *binding) verify(thought, signature string) (genuine, bound bool) {
	raw, err := base64.StdEncoding.DecodeString(signature)
	if err != nil || len(raw) != 2*half {
		return false, false
	}
	genuine = subtle.ConstantTimeCompare(raw[:half], digest("thought", thought)) == 1
	return genuine, genuine && bytes.Equal(raw[half:], b.before.Sum(nil)[:half])
}

// seal is what the provider alone can read: the encrypted content that belongs to an id.
func (p *Provider) seal(id string) string {
	return "gAAAAAB" + base64.StdEncoding.EncodeToString(append(digest("sealed", id), digest("content", id)...))
}

// digest is half a SHA-256, enough to tell things apart here.
func digest(what, of string) []byte {
	sum := sha256.Sum256([]byte("scripted " + what + "\x00" + of))
	return sum[:half]
}

// canonical is a JSON value without what the model does not see.
func canonical(raw json.RawMessage) []byte {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil {
		return raw
	}
	return encode(seen(v))
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
