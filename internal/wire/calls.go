package wire

import (
	"encoding/json"
	"time"
	"unicode/utf8"
)

// Call is one call of a tool, as an attempt's metadata tells of it: without arguments and result.
type Call struct {
	ID       string // the provider's
	Server   string // of MCP; "" for a tool of the client's
	Tool     string
	Turn     int           // that made the call, from 1
	Start    time.Duration // since the client's request began
	Duration time.Duration
	Outcome  string // the label of keyturn_tool_calls_total
}

// Bounds of what a Call says, in bytes.
const (
	maxCallID   = 64
	maxCallName = 128
	maxOutcome  = 32
)

// Calls writes calls as the field CallsField has them, in at most limit bytes. It returns how many of them did not fit.
func Calls(calls []Call, limit int) (text string, cut int) {
	out := []byte{'['}
	for i, c := range calls {
		one, err := json.Marshal([]any{
			Clip(c.ID, maxCallID), Clip(c.Server, maxCallName), Clip(c.Tool, maxCallName), c.Turn, c.Start.Microseconds(), c.Duration.Microseconds(), Clip(c.Outcome, maxOutcome),
		})
		if err != nil || len(out)+len(one)+len(",]") > limit {
			return string(append(out, ']')), len(calls) - i
		}
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, one...)
	}
	return string(append(out, ']')), 0
}

// ReadCalls reads what Calls has written. What is no call is left out.
func ReadCalls(text string) []Call {
	var all []json.RawMessage
	if json.Unmarshal([]byte(text), &all) != nil {
		return nil
	}
	var calls []Call
	for _, raw := range all {
		var c Call
		var start, took int64
		if json.Unmarshal(raw, &[]any{&c.ID, &c.Server, &c.Tool, &c.Turn, &start, &took, &c.Outcome}) != nil {
			continue
		}
		c.Start, c.Duration = time.Duration(start)*time.Microsecond, time.Duration(took)*time.Microsecond
		calls = append(calls, c)
	}
	return calls
}

// Clip is the beginning of a text, of at most n bytes and whole characters.
func Clip(text string, n int) string {
	if len(text) <= n {
		return text
	}
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}
