package responses

import (
	"cmp"
	"slices"
	"strings"

	"github.com/keyturn/keyturn/internal/dialect/rawjson"
	"github.com/keyturn/keyturn/internal/dialect/turn"
)

// This file has what is known of a turn at its end, whether it streamed or not.

// done takes the item as it is when it is complete.
func (s *session) done(i *outputItem, raw []byte) {
	i.raw = slices.Clone(raw)
	i.read(i.raw)
	if i.own {
		return
	}
	i.final = i.raw
	if i.shown == "" {
		i.shown = i.id
	}
	if i.shown != i.id {
		i.final = renamed(i.raw, i.shown)
	}
}

// renamed is an item with another id.
func renamed(raw []byte, id string) []byte {
	var e rawjson.Edits
	e.Set(raw, rawjson.Whole(raw), "id", rawjson.AppendString(nil, id))
	return e.Apply(nil, raw)
}

// runnable are the turn's calls of Keyturn's that are complete.
func (s *session) runnable() (calls []*outputItem, mixed bool) {
	ran := map[string]bool{}      // calls that are to be run, by what they are
	answered := map[string]bool{} // calls whose results the turn has too: the provider ran them
	for _, i := range s.turn.items {
		if i != nil && i.callID != "" && strings.HasSuffix(i.kind, "_output") {
			answered[i.callID] = true
		}
	}
	for _, i := range s.turn.items {
		switch {
		case i == nil:
		case i.own && i.raw != nil && (i.status == "completed" || i.status == "") && !ran[i.key()]:
			ran[i.key()] = i.callID != ""
			i.runs = true
			i.raw = i.forProvider()
			if s.mean(i); !s.opts.Hidden {
				s.see(i, s.nextIndex)
			}
			calls = append(calls, i)
		case i.isCall() && !answered[i.callID]:
			mixed = true
		}
	}
	return calls, mixed
}

// call is what the loop is told of an item.
func (s *session) call(i *outputItem) turn.Call {
	tool, _ := s.names.Own(i.name)
	return s.opts.Meant(turn.Call{ID: i.callID, Name: i.name, Tool: tool, Arguments: i.text()})
}

// mean finds out, now that an item's arguments are here, which tool is called where another is named.
func (s *session) mean(i *outputItem) {
	if !i.own || len(s.opts.Catalogue) == 0 {
		return
	}
	c := s.call(i)
	if c.Known == nil && c.Tool.Name != i.name {
		i.meant = rawjson.AppendString(nil, c.Arguments)
	}
	i.tool = c.Tool
}

// late reports whether an item is shown when its arguments are here and not before: they say which tool is called.
func (s *session) late(i *outputItem) bool {
	return i.own && i.raw == nil && i.name == turn.CallTool && len(s.opts.Catalogue) > 0
}

// result is what the turn came to, for the loop.
func (s *session) result() turn.Turn {
	t := &s.turn
	cameTo := turn.Turn{Failure: t.failure, Cut: !t.over && !t.errored && t.failure == nil, Model: t.model, Reason: t.reason, Usage: t.usage}
	if t.terminal == nil {
		return cameTo
	}
	for _, c := range s.calls {
		cameTo.Calls = append(cameTo.Calls, s.call(c))
	}
	cameTo.Mixed = s.mixed
	if limit := rawjson.Int(s.base, rawjson.Whole(s.base), "max_tool_calls"); limit > 0 {
		cameTo.MaxCalls = int(limit - s.hosted - s.ran)
		if cameTo.MaxCalls <= 0 {
			cameTo.MaxCalls = -1
		}
	}
	return cameTo
}

// hold notes that the event that ends the turn has come, or, where nothing streams, its answer: b[at] is the response in it. It
// finds out which calls are to be run. Without any, it is to be handed to the client.
func (s *session) hold(b []byte, at rawjson.Span, kind string, complete bool) {
	t := &s.turn
	t.over, t.kind = true, kind
	v := rawjson.Values(b, at, "id", "model", "status", "incomplete_details", "error", "usage", "output")
	status, use := rawjson.Unquote(v[2].Of(b)), v[5]
	t.model = rawjson.Unquote(v[1].Of(b))
	t.reason = cmp.Or(rawjson.Text(b, v[3], "reason"), rawjson.Text(b, v[4], "code"), status)
	if id := rawjson.Unquote(v[0].Of(b)); id != "" {
		s.upstreamID = id
	}
	if use.Found() && b[use.Start] == '{' {
		t.raw = slices.Clone(use.Of(b))
		t.usage = turn.Usage{
			Input: rawjson.Int(b, use, "input_tokens"), Output: rawjson.Int(b, use, "output_tokens"),
			CacheRead:  rawjson.Int(b, use, "input_tokens_details", "cached_tokens"),
			CacheWrite: rawjson.Int(b, use, "input_tokens_details", "cache_write_tokens"),
			Reasoning:  rawjson.Int(b, use, "output_tokens_details", "reasoning_tokens"),
		}
	}
	s.output += t.usage.Output
	s.adopt(b, v[6])
	for _, i := range t.items {
		if i != nil && isHosted(i.kind) {
			s.hosted++
		}
	}
	if s.number == 1 && s.echo[0] == nil { // no event before told of them
		s.settings(&rawjson.Edits{}, b, at)
	}
	s.calls, s.mixed = nil, false
	if complete && kind == "completed" && (status == "" || status == "completed") {
		s.calls, s.mixed = s.runnable()
	}
	if len(s.calls) > 0 && !s.mixed && !s.affords() {
		for _, i := range s.calls {
			i.runs = false
		}
		s.calls, s.spent = nil, true
	}
	if len(s.calls) > 0 {
		t.terminal, t.response = slices.Clone(b), at
	}
}

// affords reports whether the client allows tokens for another turn. Where it does not, calls are not run: their results would reach
// nobody, and a client that goes on would have them run again.
func (s *session) affords() bool {
	limit := rawjson.Int(s.base, rawjson.Whole(s.base), "max_output_tokens")
	return limit <= 0 || limit-s.output >= minOutputTokens
}

// isHosted reports whether an item is a call of a tool that the provider runs: those that max_tool_calls counts.
func isHosted(kind string) bool {
	switch kind {
	case "web_search_call", "file_search_call", "code_interpreter_call", "image_generation_call", "mcp_call":
		return true
	}
	return false
}

// maxItems bounds the output_index that is believed.
const maxItems = 4096
