package scripted

import (
	"github.com/keyturn/keyturn/internal/scripted/talk"
)

// Framed sets how a stream is written.
func (a Answer) Framed(f talk.Framing) Answer {
	a.framing = f
	return a
}
