package check

import (
	"bytes"
	"encoding/json"
	"strings"

	"github.com/keyturn/keyturn/internal/wire"
)

// Chat says what is wrong with a stream of OpenAI Chat Completions, as a client that asked for one choice got it: nil if nothing is.
// The rules are those that clients' libraries break on when they are not kept: one id, role, finish_reason, count of tokens and [DONE],
// calls numbered from 0 without gaps, and no error that is null.
func Chat(stream []byte) error {
	events, err := read(stream)
	if err != nil {
		return err
	}
	c := &chat{first: map[string]json.RawMessage{}}
	for _, ev := range events {
		c.event(ev)
	}
	switch {
	case c.failed:
	case !c.finished:
		c.all("the stream ends without a finish_reason")
	case len(c.calls) > 0 && c.reason != "tool_calls" && c.reason != "stop" && c.reason != "length":
		c.all("finish_reason is %q after tool calls", c.reason)
	case len(c.calls) == 0 && c.reason == "tool_calls":
		c.all("finish_reason is tool_calls, and there are none")
	}
	return c.err()
}

// chat is what is known of a stream of chunks.
type chat struct {
	problems
	first    map[string]json.RawMessage // what all chunks have in common
	roles    int                        // chunks with a role
	deltas   int                        // and with a delta at all
	calls    []chatCall
	reason   string
	finished bool
	failed   bool
	done     bool
	counted  bool // the chunk that counts tokens came
	tokens   int  // counted last
}

type chatCall struct{ id, name string }

func (c *chat) event(ev event) {
	if c.done {
		c.at(ev, "it comes after [DONE]")
		return
	}
	if string(bytes.TrimSpace(ev.data)) == "[DONE]" {
		c.done = true
		return
	}
	if c.failed {
		c.at(ev, "it comes after an error")
	}
	var o object
	if err := json.Unmarshal(ev.data, &o); err != nil || o == nil {
		c.at(ev, "the data is not a JSON object")
		return
	}
	if e, ok := o["error"]; ok || o.text("object") == "error" {
		c.failed = true
		if string(e) == "null" {
			c.at(ev, "error is null: openai-go ends the stream at any")
		} else if o.text("object") != "error" && o.object("error").text("message") == "" {
			c.at(ev, "the error has no message")
		}
		return
	}
	var choices []object
	if err := json.Unmarshal(o["choices"], &choices); err != nil {
		c.at(ev, "it has no choices")
		return
	}
	if o.text("id") != "" { // Azure has chunks without
		c.common(ev, o)
	}
	c.usage(ev, o, len(choices))
	for _, choice := range choices {
		c.choice(ev, choice)
	}
}

// common holds that a chunk belongs to the response that the first began. openai-go drops a chunk with another id without a word.
func (c *chat) common(ev event, o object) {
	if kind := o.text("object"); kind != "chat.completion.chunk" && kind != "" {
		c.at(ev, "object is %s", o["object"])
	}
	for _, name := range []string{"id", "created", "model", "system_fingerprint"} {
		v, ok := o[name]
		was, seen := c.first[name]
		switch {
		case !ok:
		case !seen:
			c.first[name] = v
		case !same(v, was):
			c.at(ev, "%s is %s, and was %s", name, v, was)
		}
	}
}

// usage holds that tokens are counted once. Some providers count with every chunk what there was so far.
func (c *chat) usage(ev event, o object, choices int) {
	u := o.object("usage")
	if u == nil {
		return
	}
	total := u.number("total_tokens")
	switch {
	case choices == 0 && c.counted:
		c.at(ev, "tokens were counted before")
	case choices == 0 && !c.finished:
		c.at(ev, "tokens are counted before the finish_reason")
	case total < c.tokens:
		c.at(ev, "usage: %d tokens after %d", total, c.tokens)
	}
	if sum := u.number("prompt_tokens") + u.number("completion_tokens"); sum != total {
		c.at(ev, "usage: total_tokens is %d, not %d", total, sum)
	}
	c.counted, c.tokens = c.counted || choices == 0, total
}

func (c *chat) choice(ev event, choice object) {
	if n := choice.number("index"); n > 0 {
		c.at(ev, "it is about choice %d", n)
	}
	delta := choice.object("delta")
	says := false
	for name, v := range delta {
		switch name {
		case "role":
			if c.roles < c.deltas {
				c.at(ev, "the role came before")
			}
			c.roles++
		case "tool_calls":
			says = true
			c.pieces(ev, v)
		default:
			says = says || len(v) > 2 && string(v) != "null"
		}
	}
	if delta != nil {
		c.deltas++
	}
	if says && c.finished {
		c.at(ev, "it says something after the finish_reason")
	}
	if reason := choice.text("finish_reason"); reason != "" {
		if c.finished {
			c.at(ev, "finish_reason came before")
		}
		c.finished, c.reason = true, reason
	}
}

// pieces holds that calls are numbered as they begin, and that what begins one says all that clients need.
func (c *chat) pieces(ev event, raw json.RawMessage) {
	var list []object
	if err := json.Unmarshal(raw, &list); err != nil || len(list) == 0 {
		c.at(ev, "tool_calls is no array with something in it")
		return
	}
	for _, p := range list {
		f, custom := p.object("function"), p.object("custom")
		if strings.HasPrefix(strings.TrimSpace(f.text("name")), wire.ToolPrefix) {
			c.at(ev, "a call of the gateway's own shows: %s", f.text("name"))
		}
		if custom != nil {
			f = custom
		}
		id, name, n := p.text("id"), f.text("name"), p.number("index")
		switch {
		case n < 0 || n > len(c.calls):
			c.at(ev, "a tool call's index is %s, not %d", p["index"], len(c.calls))
		case n == len(c.calls):
			if id == "" || name == "" {
				c.at(ev, "tool call %d begins without id or name", n)
			}
			for _, o := range c.calls {
				if o.id == id {
					c.at(ev, "tool calls have the same id %q", id)
				}
			}
			c.calls = append(c.calls, chatCall{id, name})
		case id != "" && id != c.calls[n].id:
			c.at(ev, "tool call %d has the id %q, and had %q", n, id, c.calls[n].id)
		case name != "" && name != c.calls[n].name:
			c.at(ev, "tool call %d has the name %q, and had %q", n, name, c.calls[n].name)
		}
	}
}
