// Package check holds what providers' clients rely on against the raw bytes of a stream: one function for each dialect. Tests
// that let Keyturn merge turns put what the client got through it.
package check

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/keyturn/keyturn/sse"
)

// event is one dispatched event of a stream.
type event struct {
	number int // among the stream's events with data, from 1
	name   string
	data   []byte
}

// read takes a stream apart. An event without its blank line is none, as clients that follow the standard have it.
func read(stream []byte) ([]event, error) {
	var events []event
	d := sse.NewDecoder(sse.Limits{}, func(ev *sse.Event) error {
		if !ev.Dispatched || ev.Truncated {
			return nil
		}
		events = append(events, event{number: len(events) + 1, name: string(ev.Type), data: bytes.Clone(ev.Data)})
		return nil
	})
	if _, err := d.Write(stream); err != nil {
		return nil, err
	}
	return events, d.Close()
}

// problems collects what is wrong with a stream.
type problems []error

// at notes a problem of an event.
func (p *problems) at(ev event, format string, args ...any) {
	*p = append(*p, fmt.Errorf("event %d (%s): %w", ev.number, ev.name, fmt.Errorf(format, args...)))
}

// all notes a problem of the stream as a whole.
func (p *problems) all(format string, args ...any) { *p = append(*p, fmt.Errorf(format, args...)) }

func (p *problems) err() error { return errors.Join(*p...) }

// same reports whether two JSON values mean the same.
func same(a, b json.RawMessage) bool { return bytes.Equal(canonical(a), canonical(b)) }

// canonical is a value with sorted names and without white space; numbers stay as they were written.
func canonical(raw json.RawMessage) []byte {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil {
		return raw
	}
	b, err := json.Marshal(v)
	if err != nil { // what was decoded is always encoded
		return raw
	}
	return b
}

// object is a JSON object taken apart.
type object map[string]json.RawMessage

func (o object) text(name string) string {
	var s string
	if json.Unmarshal(o[name], &s) != nil {
		return ""
	}
	return s
}

// number is a member that is a whole number; -1 if it is none.
func (o object) number(name string) int {
	n := -1
	if json.Unmarshal(o[name], &n) != nil {
		return -1
	}
	return n
}

func (o object) object(name string) object {
	var inner object
	if json.Unmarshal(o[name], &inner) != nil {
		return nil
	}
	return inner
}
