package responses

import (
	"strconv"

	"github.com/keyturn/keyturn/internal/dialect/rawjson"
	"github.com/keyturn/keyturn/internal/dialect/recall"
	"github.com/keyturn/keyturn/internal/dialect/turn"
)

// This file has what the client sees of Keyturn's calls: mcp_call items, with the events that OpenAI's own MCP calls have.

// begin tells the client of a call, once.
func (s *session) begin(i *outputItem) {
	switch {
	case i.begun:
		return
	case s.late(i):
		s.renumbers = true
		return
	}
	if s.mean(i); !s.opts.Hidden {
		s.see(i, s.nextIndex)
	}
	i.begun = true
	s.renumbers = true
	if s.hides(i) {
		return
	}
	arguments := i.soFar()
	if i.raw != nil { // all of it is here at once
		arguments = []byte(`""`)
	}
	i.final = mcpItem(i, "in_progress", arguments, rawjson.Null, rawjson.Null)
	s.emit("response.output_item.added", append(append(place(i), `,"item":`...), i.final...))
	s.emit("response.mcp_call.in_progress", about(i))
	if i.raw != nil {
		s.emit("response.mcp_call_arguments.done", append(append(about(i), `,"arguments":`...), i.said()...))
	}
}

// end tells the client what became of a call, once: the status is the item's.
func (s *session) end(i *outputItem, status string, o outcome) {
	if i.ended || s.hides(i) || s.late(i) {
		return
	}
	i.ended = true
	i.final = mcpItem(i, status, i.said(), o.shown, o.err)
	if s.plain {
		return
	}
	if status != "incomplete" {
		s.emit("response.mcp_call."+status, about(i))
	}
	s.emit("response.output_item.done", append(append(place(i), `,"item":`...), i.final...))
}

// endUnrun ends the turn's calls that will not be run, as incomplete; with a reason, all that have no result, as failed.
func (s *session) endUnrun(why *turn.ToolError) {
	for _, i := range s.turn.items {
		if i == nil || !i.own {
			continue
		}
		if why == nil {
			if i.runs {
				continue
			}
			s.end(i, "incomplete", outcome{shown: rawjson.Null, err: rawjson.Null})
			continue
		}
		s.end(i, "failed", outcomeOf(turn.Result{Error: why}))
	}
}

// Settle gives the result of a call.
func (s *session) Settle(dst []byte, n int, r turn.Result) []byte {
	if n < 0 || n >= len(s.calls) || s.calls[n].output != nil {
		return dst
	}
	i, o := s.calls[n], outcomeOf(r)
	i.output = o.output
	s.settled++
	if !s.opts.Hidden && s.opts.Memory != nil {
		var kept recall.Record
		kept.Add("call", i.raw)
		kept.Add("output", o.output)
		if o.rich {
			kept.Add("shown", o.shown)
		}
		s.opts.Memory.Put(ownKey(i.shown), kept)
	}
	s.relay.To(dst)
	status := "completed"
	if r.Error != nil || r.IsError {
		status = "failed"
	}
	s.end(i, status, o)
	return s.relay.Out()
}

// mcpItem is a call as an mcp_call item ("MCP tool call" in OpenAI's API reference).
func mcpItem(i *outputItem, status string, arguments, output, failure []byte) []byte {
	name := i.tool.Tool
	if name == "" {
		name = i.name // of a tool that no server has: its label is empty
	}
	b := rawjson.AppendString([]byte(`{"id":`), i.shown)
	b = rawjson.AppendString(append(b, `,"type":"mcp_call","status":`...), status)
	b = append(append(b, `,"approval_request_id":null,"arguments":`...), arguments...)
	b = append(append(b, `,"error":`...), failure...)
	b = rawjson.AppendString(append(b, `,"name":`...), name)
	b = append(append(b, `,"output":`...), output...)
	return append(rawjson.AppendString(append(b, `,"server_label":`...), i.tool.Server), '}')
}

// place is the member that says where in the output an item stands.
func place(i *outputItem) []byte {
	return strconv.AppendInt([]byte(`"output_index":`), int64(i.index), 10)
}

// about are the members of an event about an item.
func about(i *outputItem) []byte {
	return rawjson.AppendString(append(place(i), `,"item_id":`...), i.shown)
}
