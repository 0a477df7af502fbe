package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"time"
	"unicode/utf8"

	"github.com/keyturn/keyturn/internal/dialect"
	"github.com/keyturn/keyturn/internal/wire"
	"github.com/keyturn/keyturn/mcp"
)

// errTime ends the context of calls whose time is over.
var errTime = errors.New("the time for tools is used up")

// runCall runs one call and makes its result one of the dialects'. It does not fail: what goes wrong is for the model to read.
func (a *Agent) runCall(ctx context.Context, c dialect.Call, limits Limits) dialect.Result {
	switch {
	case c.Known != nil:
		return *c.Known
	case c.Tool.Name == "":
		return refusal("there is no tool called %q; the tools that there are stand in the request", c.Name)
	case len(bytes.TrimSpace(c.Arguments)) == 0 && takesNothing(c.Tool.Schema):
		c.Arguments = []byte("{}")
	case len(bytes.TrimSpace(c.Arguments)) == 0:
		return refusal("the arguments of %s did not come; call it again with a JSON object, {} if there are none", c.Name)
	case !json.Valid(c.Arguments):
		return refusal("the arguments of %s are not JSON; call it again with a JSON object", c.Name)
	}
	res, err := a.call(ctx, c.Tool.Server, c.Tool.Tool, c.Arguments)
	if err != nil {
		if errors.Is(context.Cause(ctx), errTime) {
			return refusal("%v (%v); answer with what is known", errTime, limits.Time)
		}
		return failed(err)
	}
	return converted(res, limits.ResultBytes)
}

// takesNothing reports whether a tool takes no arguments at all. Of any other those that did not come may be lost, and {} would be
// another call than the model's.
func takesNothing(schema []byte) bool {
	var s struct {
		Properties           map[string]json.RawMessage `json:"properties"`
		PatternProperties    map[string]json.RawMessage `json:"patternProperties"`
		AdditionalProperties json.RawMessage            `json:"additionalProperties"`
		Required             []string                   `json:"required"`
	}
	if json.Unmarshal(schema, &s) != nil {
		return false
	}
	for _, word := range [...]string{`"$ref"`, `"anyOf"`, `"oneOf"`, `"allOf"`} {
		if bytes.Contains(schema, []byte(word)) {
			return false
		}
	}
	open := string(s.AdditionalProperties)
	return len(s.Properties)+len(s.PatternProperties)+len(s.Required) == 0 && (open == "" || open == "false")
}

// refusal is the result of a call that was not run, or not to its end.
func refusal(format string, args ...any) dialect.Result {
	return dialect.Result{Error: &dialect.ToolError{Kind: dialect.ExecutionError, Message: fmt.Sprintf(format, args...)}}
}

func failed(err error) dialect.Result {
	e := &dialect.ToolError{Kind: dialect.ExecutionError, Message: "the tool could not be called"}
	var m *mcp.Error
	if errors.As(err, &m) {
		e.Message = m.ForModel()
		switch m.Kind {
		case mcp.Protocol:
			e.Kind, e.Code = dialect.ProtocolError, m.Code
		case mcp.Unreachable, mcp.Refused, mcp.HTTP:
			e.Kind, e.Code = dialect.HTTPError, m.Status
		case mcp.NotFound, mcp.Timeout, mcp.Canceled, mcp.TooLarge, mcp.Closed, mcp.Arguments:
		}
	}
	return dialect.Result{Error: e}
}

// maxParts bounds the pieces of one result.
const maxParts = 1000

// converted is a result in the dialects' words, cut to limit bytes.
func converted(res *mcp.Result, limit int64) dialect.Result {
	out := dialect.Result{IsError: res.IsError}
	content := res.Content
	if len(content) == 0 && len(res.Structured) > 0 {
		content = []mcp.Content{{Text: string(res.Structured)}}
	}
	left := int(limit)
	for i, c := range content {
		if i == maxParts {
			out.Parts = append(out.Parts, dialect.Part{Text: fmt.Sprintf("[left out: %d more pieces]", len(content)-i)})
			break
		}
		p := part(c)
		size := len(p.Text) + len(p.Data) + len(p.MIME) + len(p.Name)
		switch {
		case size <= left:
			left -= size
		case p.Kind == dialect.TextPart:
			p.Text = cut(p.Text, left)
			p.Text += fmt.Sprintf("\n[cut: %d of %d bytes are left out, the limit is %d]", size-len(p.Text), size, limit)
			left = 0
		default:
			p = dialect.Part{Text: fmt.Sprintf("[left out: %s; the limit is %d bytes]", cut(p.Text, maxNote), limit)}
		}
		out.Parts = append(out.Parts, p)
	}
	return out
}

// maxNote is how much of what describes a piece stands in its place, in bytes.
const maxNote = 200

// cut is the first n bytes of a text, or fewer so as not to part a character.
func cut(text string, n int) string {
	if n >= len(text) {
		return text
	}
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}

func part(c mcp.Content) dialect.Part {
	p := dialect.Part{Data: c.Data, MIME: c.MIME, Name: c.Name}
	switch c.Kind {
	case mcp.Image:
		p.Kind, p.Text = dialect.ImagePart, fmt.Sprintf("image %s, %d bytes", c.MIME, len(c.Data))
	case mcp.Audio:
		p.Kind, p.Text = dialect.AudioPart, fmt.Sprintf("audio %s, %d bytes", c.MIME, len(c.Data))
	case mcp.Resource:
		if len(c.Data) == 0 {
			return dialect.Part{Text: c.Text}
		}
		p.Kind, p.Text = dialect.FilePart, fmt.Sprintf("file %s, %s, %d bytes", c.URI, c.MIME, len(c.Data))
		if p.Name == "" {
			p.Name = c.URI
		}
	case mcp.Link:
		return dialect.Part{Text: joined(c.Name, c.URI, c.Text)}
	case mcp.Text, mcp.Other:
		return dialect.Part{Text: c.Text}
	}
	return p
}

func joined(parts ...string) string {
	out := ""
	for _, p := range parts {
		if p != "" && out != "" {
			out += " "
		}
		out += p
	}
	return out
}

// settled is the result of the i-th call of a turn.
type settled struct {
	i        int
	result   dialect.Result
	began    time.Time // zero: it was not run
	took     time.Duration
	panicked error // with its stack; nil unless the call did
}

// start runs the calls of a turn at the same time. Each sends one settled; none waits for a reader.
func (l *loop) start(ctx context.Context) <-chan settled {
	turn := &l.turn
	results := make(chan settled, len(turn.Calls))
	slots := make(chan struct{}, maxParallel)
	most, calls := l.limits.Calls, &l.report.Calls
	if turn.MaxCalls != 0 { // the client's own limit
		most = min(most, *calls+max(turn.MaxCalls, 0))
	}
	may := most - *calls
	for i, c := range turn.Calls {
		*calls++
		switch {
		case l.forbidden:
			results <- settled{i: i, result: refusal("no tools may be called any more in this response")}
			continue
		case i >= may:
			l.spent = true
			results <- settled{i: i, result: refusal("no more calls of tools are allowed in this response (%d were); answer with what is known", most)}
			continue
		case l.timeLeft() <= 0:
			results <- settled{i: i, result: refusal("%v (%v); answer with what is known", errTime, l.limits.Time)}
			continue
		}
		go func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			results <- l.settled(ctx, i, c)
		}()
	}
	return results
}

// settled runs one call. A panic is the loop's to raise again: in a goroutine of its own it would end the process.
func (l *loop) settled(ctx context.Context, i int, c dialect.Call) (s settled) {
	defer func() {
		if r := recover(); r != nil {
			s = settled{i: i, panicked: fmt.Errorf("%v\n%s", r, debug.Stack())}
		}
	}()
	ctx, done := l.agent.watch.tool(ctx, l.origin, c)
	began := l.agent.clock.Now()
	result := l.agent.runCall(ctx, c, l.limits)
	done(result)
	return settled{i: i, result: result, began: began, took: l.agent.clock.Since(began)}
}

// tell tells the session a call's result.
func (l *loop) tell(dst []byte, s settled) []byte {
	if s.panicked != nil {
		panic(s.panicked)
	}
	l.note(s)
	return l.session.Settle(dst, s.i, s.result)
}

// note reports a call that is over.
func (l *loop) note(s settled) {
	if len(l.report.Done) == maxDone {
		return
	}
	c := &l.turn.Calls[s.i]
	done := wire.Call{ID: c.ID, Server: c.Tool.Server, Tool: c.Tool.Tool, Turn: l.report.Turns, Outcome: outcomeOf(s.result), Duration: s.took}
	if c.Tool.Name == "" {
		done.Server, done.Tool = otherTool, otherTool
	}
	began := s.began
	if began.IsZero() {
		began = l.agent.clock.Now()
	}
	done.Start = began.Sub(l.origin.Began)
	l.report.Done = append(l.report.Done, done)
}

func (l *loop) timeLeft() time.Duration { return l.limits.Time - l.agent.clock.Since(l.origin.Began) }
