package talk

import (
	"bytes"
	"encoding/json"
	"strings"
)

// Turn is what the model says in one answer, before a dialect gives it a shape. Each dialect has two: an object (whole) and a
// list of events (stream).
type Turn struct {
	Parts []Part
	Model func(Conversation) []Part // says the parts once the request has been read; nil: they are set
	Flush bool                      // each piece is sent at once
}

// Text is the words of the turn.
func (t Turn) Text() string {
	var b strings.Builder
	for _, p := range t.Parts {
		if p.Kind == PartText {
			b.WriteString(p.All())
		}
	}
	return b.String()
}

// Ended divides the parts into what is said and how it ends; without an ending of its own it ends well, as partText.
func (t Turn) Ended() (said []Part, end Part) {
	for i, p := range t.Parts {
		if p.ending() {
			return t.Parts[:i], p
		}
	}
	return t.Parts, Part{}
}

// Forbidden leaves out the calls that a request does not allow.
func (t Turn) Forbidden(c Conversation) Turn {
	var kept []Part
	calls := 0
	for _, p := range t.Parts {
		if p.Called() {
			if calls++; c.Choice.Mode == "none" || calls > 1 && !c.Parallel {
				continue
			}
		}
		kept = append(kept, p)
	}
	t.Parts = kept
	return t
}

// Size is about how many events the turn is streamed in, apart from those around it.
func (t Turn) Size() int {
	const around = 4 // events of an item beside its deltas
	n := 0
	for i, p := range t.Parts {
		if n += p.size(); i > 0 {
			n += around
		}
	}
	return n
}

// Encode is v as JSON, without the escapes for HTML that no provider uses. Only values of this package come here, and the only
// foreign bytes in them have been found valid, so it cannot fail.
func Encode(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic("scripted: " + err.Error())
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// Event is one server-sent event (WHATWG HTML, section 9.2). Chat Completions names none.
func Event(name string, data any) []byte {
	var b bytes.Buffer
	if name != "" {
		b.WriteString("event: " + name + "\n")
	}
	b.WriteString("data: ")
	b.Write(Encode(data))
	b.WriteString("\n\n")
	return b.Bytes()
}

// Tally is the length in bytes of what was said so far, and of that the thoughts.
type Tally struct{ Said, Thought int }

// Add counts a part of that length.
func (n *Tally) Add(p Part, length int) {
	n.Said += length
	if p.Thinks() {
		n.Thought += length
	}
}

// Tokens are a turn's tokens: in holds cached, out holds reasoning.
type Tokens struct{ In, Cached, Out, Reasoning int }

// Padding is the obfuscation that OpenAI adds to deltas so that their lengths do not tell the tokens.
func Padding(delta string) string {
	const filler = "qwertyuiopasdfgh"
	return filler[:16-len(delta)%16]
}
