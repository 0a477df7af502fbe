package mcp

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
)

// Call runs a tool, by its own name, on its server. Its error is an *Error. It is tried a second time, on a new session, only if it provably did not
// run, or if the tool says that it only reads or may be repeated and the connection was at fault. args must be a JSON object; empty or null is {}.
// When ctx ends, the server is told, and Call returns at once. The span of ctx, if there is one, stands for the call: it gets what is known of it, and
// the server is told of its trace.
func (c *Catalogue) Call(ctx context.Context, server, tool string, args json.RawMessage) (*Result, error) {
	r, e := c.call(ctx, server, tool, args)
	if e != nil {
		e.Server, e.Tool = server, tool
		return nil, e
	}
	return r, nil
}

func (c *Catalogue) call(ctx context.Context, name, tool string, args json.RawMessage) (*Result, *Error) {
	found := c.named([]string{name})
	if len(found) == 0 {
		return nil, &Error{Kind: NotFound}
	}
	v := found[0]
	cfg := v.config()
	if !cfg.offers(tool) {
		return nil, &Error{Kind: NotFound}
	}
	args, ok := object(args)
	if !ok {
		return nil, &Error{Kind: Arguments}
	}
	ctx, end := c.env.withTimeout(ctx, cfg.Timeout)
	defer end(nil)
	defer context.AfterFunc(c.life, func() { end(errClosed) })()
	span := trace.SpanFromContext(ctx)
	describeCall(span, cfg, tool)
	begun := c.env.clock.Now()
	r, e := v.call(ctx, tool, args)
	failure, now := describe(span, r, e), c.env.clock.Now()
	c.env.measure(context.WithoutCancel(ctx), name, methodCall, failure, now.Sub(begun).Seconds())
	if e == nil || e.Kind != NotFound { // names that a model made up are not the server's tools
		v.counts.called(tool, failure, now.Sub(begun), now)
	}
	return r, e
}

// turn waits until the server has few enough calls in work for one more, and returns what ends it.
func (v *server) turn(ctx context.Context) (end func(), e *Error) {
	end = func() { <-v.calls }
	select {
	case v.calls <- struct{}{}:
		return end, nil
	default:
	}
	v.env.limits.beyond(v.config().Name, "many calls at the same time; more wait for their turn", slog.Int("most", maxCalls))
	select {
	case v.calls <- struct{}{}:
		return end, nil
	case <-ctx.Done():
		e, _ := judge(circumstances{cause: context.Cause(ctx)})
		return nil, e
	}
}

// call runs a tool, twice at most.
func (v *server) call(ctx context.Context, name string, args json.RawMessage) (*Result, *Error) {
	end, e := v.turn(ctx)
	if e != nil {
		return nil, e
	}
	defer end()
	for first := true; ; first = false {
		s, e := v.acquire(ctx)
		if e != nil {
			return nil, e
		}
		t, ok := v.tool(name)
		if !ok {
			s.end()
			return nil, &Error{Kind: NotFound}
		}
		trace.SpanFromContext(ctx).SetAttributes(attribute.String("mcp.protocol.version", s.version()))
		r, e, lost := s.call(ctx, name, args, requestMeta(ctx))
		s.end()
		switch {
		case e == nil:
			return r, nil
		case lost:
			v.lose(s, e)
		case e.Kind == Timeout, e.Kind == Unreachable:
			s.suspect() // the tool is slow, or the server hangs: a list will tell
		}
		if !first || ctx.Err() != nil || !again(e, lost, t) {
			return nil, e
		}
	}
}

// object returns the arguments of a call as a JSON object. Servers refuse null. Some models write the object as a string.
func object(args json.RawMessage) (json.RawMessage, bool) {
	args = bytes.TrimSpace(args)
	var inner string
	if len(args) > 0 && args[0] == '"' && json.Unmarshal(args, &inner) == nil {
		args = bytes.TrimSpace([]byte(inner))
	}
	if len(args) == 0 || string(args) == "null" {
		return json.RawMessage(`{}`), true
	}
	return args, args[0] == '{' && json.Valid(args)
}
