package talk

import (
	"bytes"
	"encoding/json"
)

// Framing is how the events of a stream are written. The zero value is the provider's own way; every other one is valid too (WHATWG
// HTML, section 9.2), and some client or gateway was seen to fail on it.
type Framing struct {
	// CRLF ends lines with CR LF.
	CRLF bool
	// NoNames leaves out the event lines. Anthropic's clients need them.
	NoNames bool
	// Pretty indents the JSON, over several data lines.
	Pretty bool
	// Comment is a comment before each event, to keep the connection alive: "OPENROUTER PROCESSING". "": none.
	Comment string
	// NoFinalBlank leaves out the blank line after the last event, as a stream that is cut there.
	NoFinalBlank bool
	// Done ends a stream on Responses with [DONE], as Open Responses wants it. Chat Completions always has it.
	Done bool
	// FlatErrors gives the error event of Responses its members at the top, as OpenAI's reference documents it, instead of within
	// "error", as OpenAI sends it.
	FlatErrors bool
}

// Write returns a yield that writes events by f, and end, which sends what is still held.
func (f Framing) Write(yield func([]byte) bool) (write func([]byte) bool, end func()) {
	if !f.CRLF && !f.NoNames && !f.Pretty && !f.NoFinalBlank && f.Comment == "" {
		return yield, func() {}
	}
	if !f.NoFinalBlank {
		return func(event []byte) bool { return yield(f.event(event)) }, func() {}
	}
	var held []byte // the last event so far: only the end tells that it is the last
	return func(event []byte) bool {
			if held != nil && !yield(held) {
				held = nil
				return false
			}
			held = f.event(event)
			return true
		}, func() {
			if held != nil {
				yield(held[:len(held)-len(f.newline())])
			}
		}
}

func (f Framing) newline() string {
	if f.CRLF {
		return "\r\n"
	}
	return "\n"
}

// event writes one event anew. Events of this package have at most one line of data.
func (f Framing) event(plain []byte) []byte {
	var b bytes.Buffer
	line := func(parts ...string) {
		for _, p := range parts {
			b.WriteString(p)
		}
		b.WriteString(f.newline())
	}
	if f.Comment != "" {
		line(": ", f.Comment)
		line()
	}
	for field := range bytes.Lines(bytes.TrimSuffix(plain, []byte("\n"))) {
		field = bytes.TrimSuffix(field, []byte("\n"))
		data, isData := bytes.CutPrefix(field, []byte("data: "))
		var pretty bytes.Buffer
		switch {
		case isData && f.Pretty && json.Indent(&pretty, data, "", "  ") == nil:
			for l := range bytes.Lines(pretty.Bytes()) {
				line("data: ", string(bytes.TrimSuffix(l, []byte("\n"))))
			}
		case isData || !f.NoNames:
			line(string(field))
		}
	}
	line()
	return b.Bytes()
}
