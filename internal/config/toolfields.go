package config

import (
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/keyturn/keyturn/extproc"
	"github.com/keyturn/keyturn/internal/wire"
	"github.com/keyturn/keyturn/mcp"
)

func toolsFields() object[Tools] {
	return object[Tools]{
		fields: []field[Tools]{
			is("servers", func(t *Tools) *[]ToolServer { return &t.Servers },
				list[ToolServer]{toolServerFields(), `- {name: docs, url: "https://HOST/mcp"}`, 1},
				"MCP servers. One that is down costs its tools and nothing else.").must(`[{name: docs, url: "https://HOST/mcp"}]`),
		},
		example: `{servers: [{name: docs, url: "https://HOST/mcp"}]}`,
	}
}

func toolServerFields() object[ToolServer] {
	return object[ToolServer]{
		fields: []field[ToolServer]{
			is("name", func(s *ToolServer) *string { return &s.Name }, serverName(),
				"Name of the server, part of the names that models see: `bmcp_NAME_TOOL`.").must("docs"),
			is("url", func(s *ToolServer) **url.URL { return &s.URL }, endpoint{}, "Where the server answers; this or command.").otherwise("none"),
			is("transport", func(s *ToolServer) *string { return &s.Transport }, transport(),
				"How it speaks at the URL: `http` is streamable HTTP, `sse` the older HTTP+SSE, `auto` tries both."),
			is("command", func(s *ToolServer) *[]string { return &s.Command }, list[string]{commandWord(), "[npx, -y, some-mcp-server]", 1},
				"Program and arguments of a server that speaks on its standard input and output; this or url.").otherwise("none"),
			is("env", func(s *ToolServer) *map[string]string { return &s.Env }, environmentShape(),
				"Variables for the command. Those whose name speaks of a key, a token, a secret or a password by reference only.").otherwise("none"),
			is("headers", func(s *ToolServer) *map[string]string { return &s.Headers }, headersShape(),
				"Headers for the URL. Credentials by reference only; a token alone in `authorization` goes behind the word Bearer.").otherwise("none"),
			is("allow", func(s *ToolServer) *[]string { return &s.Allow }, list[string]{toolPattern(), `["search_*"]`, 1},
				"Tools that are offered, by their own names; `*` stands for any text."),
			is("deny", func(s *ToolServer) *[]string { return &s.Deny }, list[string]{item: toolPattern(), example: `["delete_*"]`},
				"Tools that are not offered, whatever allow says.").otherwise("none"),
			is("max_tools", func(s *ToolServer) *int { return &s.MaxTools }, number(1, mcp.MaxTools),
				"Most tools that are offered; of more, the first by name. OpenAI takes 128 in one request."),
			is("timeout", func(s *ToolServer) *time.Duration { return &s.Timeout }, duration(mcp.MinTimeout, mcp.MaxTimeout), "Longest time for one call."),
			is("refresh", func(s *ToolServer) *time.Duration { return &s.Refresh }, duration(mcp.MinRefresh, mcp.MaxRefresh),
				"Age at which the list of tools is fetched again, unless the server says."),
		},
		start:   func(func(string) string) ToolServer { return defaultToolServer },
		refused: inline,
		private: true,
		example: `{name: docs, url: "https://HOST/mcp"}`,
		extra:   oneOf("url", "command"),
		after:   (*reader).wholeToolServer,
	}
}

func poolToolsFields() object[extproc.Tools] {
	return object[extproc.Tools]{
		fields: []field[extproc.Tools]{
			is("servers", func(t *extproc.Tools) *[]string { return &t.Servers }, list[string]{serverName(), "[docs]", 1},
				"Names of tools.servers.").must("[docs]"),
			is("present", func(t *extproc.Tools) *bool { return &t.Hidden }, present(),
				"How clients see the calls: as items of type mcp_call, where the dialect has them (Responses), or not at all."),
			is("when", func(t *extproc.Tools) *string { return &t.When }, choice(extproc.ToolsAlways, extproc.ToolsBesideClients, extproc.ToolsByHeader),
				"Into which requests the tools go: all, those in which the client has tools of its own (agents ask for titles without), or those with the header `"+wire.ToolsHeader+": on`. The same with `off` keeps them out."),
			is("models", func(t *extproc.Tools) *[]string { return &t.Models }, list[string]{modelPattern(), `["gpt-5*"]`, 1}, "Models that get them; `*` stands for any text.").otherwise("all"),
			is("except_models", func(t *extproc.Tools) *[]string { return &t.ExceptModels }, list[string]{item: modelPattern(), example: `["*haiku*"]`}, "Models that do not, whatever models says.").otherwise("none"),
			is("instructions", func(t *extproc.Tools) *bool { return &t.Instructions }, boolean(),
				"Let what the servers say of the use of their tools reach the models, after the client's own instructions."),
			is("usage", func(t *extproc.Tools) *string { return &t.Usage }, choice(extproc.UsageSum, extproc.UsageLast),
				"What clients read of the tokens of several turns: their sum, or the last turn's, which many take for the size of the context.").
				otherwise("`last`; `sum` in Responses"),
			is("turns", func(t *extproc.Tools) *int { return &t.Turns }, number(extproc.MinTurns, extproc.MaxTurns), "Most requests to the provider for one of the client's, that one included."),
			is("calls", func(t *extproc.Tools) *int { return &t.Calls }, number(extproc.MinCalls, extproc.MaxCalls), "Most calls for one request of the client's."),
			is("time", func(t *extproc.Tools) *time.Duration { return &t.Time }, duration(extproc.MinToolTime, extproc.MaxToolTime),
				"Longest time in which calls run, from the client's request on."),
			is("result_bytes", func(t *extproc.Tools) *int64 { return &t.ResultBytes }, size(extproc.MinResultBytes, extproc.MaxResultBytes), "Largest result of a call that a model gets."),
			is("definition_bytes", func(t *extproc.Tools) *int64 { return &t.DefinitionBytes }, size(extproc.MinDefinitionBytes, extproc.MaxDefinitionBytes),
				"How much the definitions of the tools may add to a request. Servers share it equally; of more, the tools that come first stay."),
			is("memory", func(t *extproc.Tools) *time.Duration { return &t.Memory }, orNever(duration(0, extproc.MaxMemory)),
				"How long is kept what a client's next request needs and the client cannot send: calls that it did not see. 0: not at all."),
			is("memory_bytes", func(t *extproc.Tools) *int64 { return &t.MemoryBytes }, size(extproc.MinMemoryBytes, extproc.MaxMemoryBytes), "How much of that is kept for the pool; the oldest goes first."),
		},
		start:   func(func(string) string) extproc.Tools { return *extproc.Defaults().Tools },
		example: "{servers: [docs]}",
	}
}

// present is kept as whether the calls are hidden.
func present() scalar[bool] {
	const shown, hidden = "mcp_call", "hidden"
	of := choice(shown, hidden)
	return scalar[bool]{
		word: of.word, want: of.want, tags: of.tags, schema: of.schema,
		parse: func(s string) (bool, wrong) { return s == hidden, second(of.parse(s)) },
		render: func(is bool) string {
			if is {
				return hidden
			}
			return shown
		},
	}
}

func serverName() scalar[string] { return pattern("name", mcp.NameWanted, mcp.NamePattern, false) }

// transport is kept as "" for auto.
func transport() scalar[string] {
	const auto = "auto"
	s := choice(auto, "http", "sse")
	parse := s.parse
	s.parse = func(text string) (string, wrong) {
		v, w := parse(text)
		return strings.TrimPrefix(v, auto), w
	}
	s.render = func(v string) string {
		if v == "" {
			return auto
		}
		return v
	}
	return s
}

// toolPattern is a pattern over the names of tools, which servers choose as they like.
func toolPattern() scalar[string] {
	s := pattern("text", "the name of a tool, in which * stands for any text, without spaces", `^[!-~]{1,128}$`, false)
	s.render = strconv.Quote // a bare * is an alias in YAML
	return s
}

// modelPattern is a pattern over the names of models.
func modelPattern() scalar[string] {
	s := pattern("text", "the name of a model, in which * stands for any text, without spaces", `^[!-~]{1,256}$`, false)
	s.render = strconv.Quote // a bare * is an alias in YAML
	return s
}

// commandWord is the program or an argument. Other users of the machine can read them while the command runs.
func commandWord() scalar[string] {
	return text("text", "a word of the command", func(s string) wrong {
		_, value, _ := strings.Cut(s, "=")
		switch {
		case strings.ContainsRune(s, 0):
			return "found a zero byte; write the word without it"
		case looksSecret(s), looksSecret(value):
			return "what stands here looks like a key itself, and every user of the machine can read a command's arguments; " +
				"put it into an environment variable of the command: env: {NAME: {env: NAME}}"
		}
		return ""
	})
}
