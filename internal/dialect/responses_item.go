package dialect

import (
	"slices"
	"strconv"
)

// This file has what the client sees of Keyturn's calls: mcp_call items, with the events that OpenAI's own MCP calls have.

// begin tells the client of a call, once.
func (s *responses) begin(i *outputItem) {
	if i.begun {
		return
	}
	i.begun = true
	m := &s.stream
	m.renumbers = true
	if s.hides(i) {
		return
	}
	arguments := i.arguments
	if i.raw != nil || arguments == nil { // all of it is here at once
		arguments = []byte(`""`)
	}
	i.final = mcpItem(i, "in_progress", arguments, null, null)
	m.emit("response.output_item.added", append(append(place(i), `,"item":`...), i.final...))
	m.emit("response.mcp_call.in_progress", about(i))
	if i.raw != nil {
		m.emit("response.mcp_call_arguments.done", append(append(about(i), `,"arguments":`...), i.said()...))
	}
}

// end tells the client what became of a call, once: the status is the item's.
func (s *responses) end(i *outputItem, status string, o outcome) {
	if i.ended || s.hides(i) {
		return
	}
	i.ended = true
	i.final = mcpItem(i, status, i.said(), o.shown, o.err)
	if s.plain {
		return
	}
	m := &s.stream
	if status != "incomplete" {
		m.emit("response.mcp_call."+status, about(i))
	}
	m.emit("response.output_item.done", append(append(place(i), `,"item":`...), i.final...))
}

// endUnrun ends the turn's calls that will not be run, as incomplete; with a reason, all that have no result, as failed.
func (s *responses) endUnrun(why *ToolError) {
	for _, i := range s.turn.items {
		if i == nil || !i.own {
			continue
		}
		if why == nil {
			if slices.Contains(s.calls, i) {
				continue
			}
			s.end(i, "incomplete", outcome{shown: null, err: null})
			continue
		}
		s.end(i, "failed", outcomeOf(Result{Error: why}))
	}
}

// Settle gives the result of a call.
func (s *responses) Settle(dst []byte, n int, r Result) []byte {
	if n < 0 || n >= len(s.calls) || s.calls[n].output != nil {
		return dst
	}
	i, o := s.calls[n], outcomeOf(r)
	i.output = o.output
	s.settled++
	if !s.opts.Hidden && s.opts.Memory != nil {
		var kept record
		kept.add("call", i.raw)
		kept.add("output", o.output)
		if o.rich {
			kept.add("shown", o.shown)
		}
		s.opts.Memory.Put(ownKey(i.shown), kept)
	}
	s.stream.dst = dst
	status := "completed"
	if r.Error != nil || r.IsError {
		status = "failed"
	}
	s.end(i, status, o)
	return s.stream.dst
}

// said are the arguments of a call, a JSON string.
func (i *outputItem) said() []byte {
	if i.arguments == nil {
		return []byte(`""`)
	}
	return i.arguments
}

// mcpItem is a call as an mcp_call item ("MCP tool call" in OpenAI's API reference).
func mcpItem(i *outputItem, status string, arguments, output, failure []byte) []byte {
	name := i.tool.Tool
	if name == "" {
		name = i.name // of a tool that no server has: its label is empty
	}
	b := appendString([]byte(`{"id":`), i.shown)
	b = appendString(append(b, `,"type":"mcp_call","status":`...), status)
	b = append(append(b, `,"approval_request_id":null,"arguments":`...), arguments...)
	b = append(append(b, `,"error":`...), failure...)
	b = appendString(append(b, `,"name":`...), name)
	b = append(append(b, `,"output":`...), output...)
	return append(appendString(append(b, `,"server_label":`...), i.tool.Server), '}')
}

// place is the member that says where in the output an item stands.
func place(i *outputItem) []byte {
	return strconv.AppendInt([]byte(`"output_index":`), int64(i.index), 10)
}

// about are the members of an event about an item.
func about(i *outputItem) []byte {
	return appendString(append(place(i), `,"item_id":`...), i.shown)
}
