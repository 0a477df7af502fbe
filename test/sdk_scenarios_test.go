package test

import (
	"strings"
	"time"

	"github.com/keyturn/keyturn/internal/scripted"
	"github.com/keyturn/keyturn/test/sdks"
)

// conversation is a case that every client has, streaming and not, in each dialect that it speaks.
type conversation struct {
	name string
	// users are what the user says; the scripted model knows what to do by it.
	users []string
	// texts are what the model says, for each thing that the user says and each of the client's requests that it takes.
	texts [][]string
	// tools say that the client has its own function lookup.
	tools bool
	// previous continues by previous_response_id: Responses only.
	previous bool
	// only names the dialects that have such a thing; empty: all.
	only []string
	// options are further members of the requests, by dialect.
	options map[string]map[string]any
	// items are the types of the output items of each answer in Responses.
	items [][]string
	// has stands somewhere in the last answer, in every dialect.
	has string
	// spent says that the keys run out in the second turn.
	spent bool
	// cut says that the last answer is cut short.
	cut bool
	// plainest leaves out the SDKs that run the client's functions themselves: they make something else of such an answer.
	plainest bool
}

const refusal = "I cannot help with that."

// thinking asks for thoughts, where a dialect has to be asked.
var thinking = map[string]map[string]any{
	"responses": {"reasoning": map[string]any{"effort": "low", "summary": "auto"}},
	"messages":  {"thinking": map[string]any{"type": "enabled", "budget_tokens": 1024}, "max_tokens": 4096},
}

var unstored = map[string]map[string]any{"responses": {"store": false}}

var conversations = []conversation{
	{
		name: "plain", users: []string{"hi", "again"}, texts: [][]string{{"Hello, whoever you are."}, {"Hello again."}},
		items: [][]string{{"message"}, {"message"}},
	},
	{
		name: "one call", users: []string{"add"}, texts: [][]string{{"It is 5."}},
		items: [][]string{{"mcp_call", "message"}},
	},
	{
		name: "text before the call", users: []string{"say, then add"}, texts: [][]string{{"Let me add that. It is 5."}},
		items: [][]string{{"message", "mcp_call", "message"}},
	},
	{
		name: "parallel calls", users: []string{"add and echo"}, texts: [][]string{{"It is 5, and the echo says hello."}},
		items: [][]string{{"mcp_call", "mcp_call", "message"}},
	},
	{
		name: "three turns", users: []string{"add twice"}, texts: [][]string{{"It is 5, then 10."}},
		items: [][]string{{"mcp_call", "mcp_call", "message"}},
	},
	{
		name: "the client's call", users: []string{"look up"}, tools: true, texts: [][]string{{"", "It means a messenger."}},
		items: [][]string{{"function_call"}, {"message"}},
	},
	{
		name: "mixed calls", users: []string{"add and look up"}, tools: true, texts: [][]string{{"", "It is 5, and it means a messenger."}},
		items: [][]string{{"mcp_call", "function_call"}, {"message"}},
	},
	{
		name: "mixed calls by previous_response_id", users: []string{"add and look up"}, tools: true, previous: true, only: []string{"responses"},
		texts: [][]string{{"", "It is 5, and it means a messenger."}}, items: [][]string{{"mcp_call", "function_call"}, {"message"}},
	},
	{
		name: "a long conversation", users: []string{"add", "look up", "add and echo", "what was it all"}, tools: true, options: unstored,
		texts: [][]string{{"It is 5."}, {"", "It means a messenger."}, {"It is 5, and the echo says hello."}, {"It was 5, a messenger, 5, hello."}},
		items: [][]string{{"mcp_call", "message"}, {"function_call"}, {"message"}, {"mcp_call", "mcp_call", "message"}, {"message"}},
	},
	{
		name: "a long conversation by previous_response_id", users: []string{"add", "look up", "add and echo", "what was it all"}, tools: true,
		previous: true, only: []string{"responses"},
		texts: [][]string{{"It is 5."}, {"", "It means a messenger."}, {"It is 5, and the echo says hello."}, {"It was 5, a messenger, 5, hello."}},
		items: [][]string{{"mcp_call", "message"}, {"function_call"}, {"message"}, {"mcp_call", "mcp_call", "message"}, {"message"}},
	},
	{
		name: "thoughts", users: []string{"think, then add", "again"}, options: thinking,
		texts: [][]string{{"I thought: it is 5."}, {"Hello again."}},
		items: [][]string{{"reasoning", "mcp_call", "reasoning", "message"}, {"message"}},
	},
	{
		name: "a tool that fails", users: []string{"fail"}, texts: [][]string{{"It failed: no such thing"}},
		items: [][]string{{"mcp_call", "message"}},
	},
	{name: "refusal after a call", users: []string{"add, then refuse"}, has: refusal, plainest: true, items: [][]string{{"mcp_call", "message"}}},
	{
		name: "cut short after a call", users: []string{"add, then go on"}, texts: [][]string{{"It is 5, and so on and"}}, plainest: true, cut: true,
		items: [][]string{{"mcp_call", "message"}},
	},
	{name: "keys run out", users: []string{"add"}, spent: true},
}

// lookup is the client's own function.
var lookup = sdks.Tool{
	Name: "lookup", Result: "a messenger",
	Parameters: map[string]any{
		"type": "object", "properties": map[string]any{"word": map[string]any{"type": "string"}},
		"required": []string{"word"}, "additionalProperties": false,
	},
}

const (
	talker      = "gpt-5-mini"
	claude      = "claude-sonnet-4-6"
	spentSuffix = "-spent" // the model whose second turn finds no quota left
)

// converses is the provider's script: a model that knows what to do, and one that is out of quota once it has a result.
var converses = scripted.Func(func(r scripted.Request) scripted.Answer {
	if strings.HasSuffix(r.Model, spentSuffix) && len(r.Conversation().Latest) > 0 {
		return scripted.RateLimited(time.Minute)
	}
	return scripted.ToolUser(modelTalks).Usage(100, 10)
})

// modelTalks is what the model says.
func modelTalks(c scripted.Conversation) []scripted.Part {
	text := scripted.Text
	call := func(suffix, arguments string) scripted.Part {
		t, ok := c.Tool(suffix)
		if !ok {
			return text("I have no tool " + suffix + ".")
		}
		return scripted.Call(t.Name, arguments)
	}
	add := func() scripted.Part { return call("_add", `{"a":2,"b":3}`) }
	echo := func() scripted.Part { return call("_echo", `{"text":"hello"}`) }
	look := func() scripted.Part { return call("lookup", `{"word":"envoy"}`) }
	// said is the n-th result since the model spoke last, by the end of its tool's name.
	said := func(suffix string) string {
		for _, r := range c.Latest {
			if strings.HasSuffix(r.Name, suffix) {
				return r.Text
			}
		}
		return "no result of " + suffix
	}
	told := len(c.Latest) > 0
	pick := func(before []scripted.Part, after ...scripted.Part) []scripted.Part {
		if told {
			return after
		}
		return before
	}
	parts := func(p ...scripted.Part) []scripted.Part { return p }

	switch c.LastUserText {
	case "hi":
		return parts(text("Hello, whoever you are."))
	case "again":
		return parts(text("Hello again."))
	case "add":
		return pick(parts(add()), text("It is "+said("_add")+"."))
	case "say, then add":
		return pick(parts(text("Let me add that. "), add()), text("It is "+said("_add")+"."))
	case "add and echo":
		return pick(parts(add(), echo()), text("It is "+said("_add")+", and the echo says "+said("_echo")+"."))
	case "add twice":
		if told && said("_add") == "5" {
			return parts(call("_add", `{"a":5,"b":5}`))
		}
		return pick(parts(add()), text("It is 5, then "+said("_add")+"."))
	case "what was it all":
		var all []string
		for _, r := range c.Results {
			all = append(all, r.Text)
		}
		return parts(text("It was " + strings.Join(all, ", ") + "."))
	case "look up":
		return pick(parts(look()), text("It means "+said("lookup")+"."))
	case "add and look up":
		return pick(parts(add(), look()), text("It is "+said("_add")+", and it means "+said("lookup")+"."))
	case "think, then add":
		return pick(parts(scripted.Think("I should add."), add()), scripted.Think("Now I know."), text("I thought: it is "+said("_add")+"."))
	case "fail":
		return pick(parts(call("_fail", `{"message":"no such thing"}`)), text("It failed: "+said("_fail")))
	case "add, then refuse":
		return pick(parts(add()), scripted.Refuse(refusal))
	case "add, then go on":
		return pick(parts(add()), text("It is "+said("_add")+", and so on and"), scripted.Incomplete("max_output_tokens"))
	}
	return parts(text("I do not understand " + c.LastUserText + "."))
}
