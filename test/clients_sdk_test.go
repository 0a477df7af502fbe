package test

import (
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/scripted"
	"github.com/keyturn/keyturn/internal/toolserver"
	"github.com/keyturn/keyturn/test/gateway"
	"github.com/keyturn/keyturn/test/sdks"
)

var everySDK = flag.Bool("sdks", false, "have conversations with every SDK, not with one of each provider and language")

// sdksNow are those that have conversations.
func sdksNow() []sdkClient {
	if *everySDK {
		return sdkClients
	}
	few := []string{"openai-go 3", "openai-python 3", "openai-node 7", "anthropic-sdk-go 1", "anthropic-sdk-python 2", "anthropic-sdk-typescript 1"}
	return slices.DeleteFunc(slices.Clone(sdkClients), func(c sdkClient) bool { return !slices.Contains(few, c.Name) })
}

// asker is a client that has conversations: a *sdks.Process or a goClient.
type asker interface {
	Ask(t testing.TB, r sdks.Request) sdks.Reply
}

// sdkClient is a provider's SDK: the newest, or the one of two majors ago.
type sdkClient struct {
	sdks.Client
	in   goClient // an SDK in this process; nil: Client is a program
	apis []string
	// forgets are members that the SDK's accumulator loses or does not know.
	forgets []string
	// overlooks says that the SDK's stream does not know response.incomplete: its conversations that are cut short are had without
	// a stream only.
	overlooks bool
	// hidden gives it a pool that hides the calls, for SDKs that do not know mcp_call items.
	hidden bool
	// shuffles says that the SDK lists parallel calls of a stream in the order in which they end.
	shuffles bool
	// runs says that the SDK runs the client's functions itself, and shows one answer for each thing that the user says.
	runs bool
}

var (
	openAIs    = []string{"responses", "chat"}
	anthropics = []string{"messages"}
	allAPIs    = []string{"responses", "chat", "messages"}
)

var sdkClients = []sdkClient{
	{Client: sdks.Client{Name: "openai-go 3"}, in: goOpenAI, apis: openAIs},
	{Client: sdks.Client{Name: "openai-go 1", Language: sdks.Go, Set: "older"}, apis: openAIs, forgets: []string{"completion_tokens_details"}},
	{Client: sdks.Client{Name: "openai-python 3", Language: sdks.Python, Set: "newest", Program: "openai_client.py"}, apis: openAIs, overlooks: true},
	{Client: sdks.Client{Name: "openai-python 1", Language: sdks.Python, Set: "older", Program: "openai_client.py"}, apis: openAIs, overlooks: true},
	{Client: sdks.Client{Name: "openai-node 7", Language: sdks.Node, Set: "newest", Program: "openai.mjs"}, apis: openAIs, forgets: []string{"reasoning_content"}},
	{
		Client: sdks.Client{Name: "openai-node 5", Language: sdks.Node, Set: "older", Program: "openai.mjs"}, apis: openAIs,
		forgets: []string{"reasoning_content"}, overlooks: true,
	},
	{
		Client: sdks.Client{Name: "openai-node 7 with hidden calls", Language: sdks.Node, Set: "newest", Program: "openai.mjs"}, apis: openAIs[:1],
		hidden: true,
	},
	{Client: sdks.Client{Name: "openai-agents python", Language: sdks.Python, Set: "newest", Program: "agents_client.py"}, apis: openAIs, runs: true},
	{Client: sdks.Client{Name: "openai-agents node", Language: sdks.Node, Set: "newest", Program: "agents.mjs"}, apis: openAIs, runs: true},
	{Client: sdks.Client{Name: "anthropic-sdk-go 1"}, in: goAnthropic, apis: anthropics},
	{Client: sdks.Client{Name: "anthropic-sdk-python 2", Language: sdks.Python, Set: "newest", Program: "anthropic_client.py"}, apis: anthropics},
	{Client: sdks.Client{Name: "anthropic-sdk-python 0", Language: sdks.Python, Set: "older", Program: "anthropic_client.py"}, apis: anthropics},
	{Client: sdks.Client{Name: "anthropic-sdk-typescript 1", Language: sdks.Node, Set: "newest", Program: "anthropic.mjs"}, apis: anthropics},
	{Client: sdks.Client{Name: "anthropic-sdk-typescript 0", Language: sdks.Node, Set: "older", Program: "anthropic.mjs"}, apis: anthropics},
	{Client: sdks.Client{Name: "ai 7", Language: sdks.Node, Set: "newest", Program: "ai.mjs"}, apis: allAPIs, runs: true, shuffles: true},
	{Client: sdks.Client{Name: "ai 7 with hidden calls", Language: sdks.Node, Set: "newest", Program: "ai.mjs"}, apis: allAPIs, runs: true, hidden: true},
	{Client: sdks.Client{Name: "ai 5", Language: sdks.Node, Set: "older", Program: "ai.mjs"}, apis: allAPIs, runs: true, hidden: true},
}

// TestSDKs has every conversation with every SDK of sdksNow, through Envoy, streaming and not. What the SDK assembles from the stream equals
// what it gets without one, and every stream keeps the rules of its dialect on the raw bytes.
func TestSDKs(t *testing.T) {
	server, err := toolserver.Start("127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	cfg := gateway.Config{
		Top:      map[string]any{"tools": map[string]any{"servers": []any{map[string]any{"name": "demo", "url": server.URL}}}},
		Provider: scripted.Config{Strict: true},
	}
	clients := sdksNow()
	for i, c := range clients { // a pool for each client and provider: one's exhaustion is nobody else's
		with := map[string]any{"tools": map[string]any{"servers": []string{"demo"}, "present": "mcp_call"}}
		if c.hidden {
			with = map[string]any{"tools": map[string]any{"servers": []string{"demo"}, "present": "hidden"}}
		}
		for _, provider := range []string{"openai", "anthropic"} {
			name := fmt.Sprintf("%s-%d", provider, i)
			cfg.Pools = append(cfg.Pools, gateway.Pool{Name: name, Provider: provider, Keys: []string{name + "-long-key"}, Settings: with})
		}
	}
	gw := gateway.Start(t, cfg)
	gw.Provider.Default(converses)
	w := watch(t, gw.URL)

	t.Run("clients", func(t *testing.T) {
		for i, c := range clients {
			t.Run(strings.ReplaceAll(c.Name, " ", "_"), func(t *testing.T) {
				t.Parallel()
				var client asker = c.in
				if c.in == nil {
					client = sdks.Start(t, c.Client)
				}
				for _, api := range c.apis {
					provider, base := "openai", "/v1"
					if api == "messages" {
						provider, base = "anthropic", ""
					}
					pool := fmt.Sprintf("%s-%d", provider, i)
					talk := func(t *testing.T, conv conversation, mode string) sdks.Reply {
						r := conv.request(api, mode)
						r.BaseURL = w.url + "/" + pool + base
						reply := client.Ask(t, r)
						if conv.spent {
							gw.Operate(t, pool, "key0", "reset")
						}
						return reply
					}
					c.converse(t, api, talk)
				}
			})
		}
	})
	w.verdict(t)
}

// converse has every conversation in one dialect. Talk has one of them, in a mode.
func (c sdkClient) converse(t *testing.T, api string, talk func(*testing.T, conversation, string) sdks.Reply) {
	for _, conv := range conversations {
		if len(conv.only) > 0 && !slices.Contains(conv.only, api) || c.runs && (conv.plainest || conv.previous) {
			continue
		}
		t.Run(api+"/"+conv.name, func(t *testing.T) {
			if c.overlooks && api == "responses" && conv.cut {
				conv.content(t, c, api, talk(t, conv, "plain"))
				return
			}
			stream, plain := talk(t, conv, "stream"), talk(t, conv, "plain")
			conv.judge(t, c, api, stream, plain)
		})
	}
}

// request is the conversation as a client is told to have it.
func (conv conversation) request(api, mode string) sdks.Request {
	r := sdks.Request{
		API: api, Mode: mode, Key: "client-credential", Model: talker, Users: conv.users, Previous: conv.previous, Options: conv.options[api],
	}
	if api == "messages" {
		r.Model = claude
	}
	if conv.spent {
		r.Model += spentSuffix
	}
	if conv.tools {
		r.Tools = []sdks.Tool{lookup}
	}
	return r
}

// judge compares what came of a conversation with what should have, and the stream with the answers that came whole.
func (conv conversation) judge(t require.TestingT, c sdkClient, api string, stream, plain sdks.Reply) {
	if conv.spent {
		for _, reply := range []sdks.Reply{stream, plain} {
			require.NotNil(t, reply.Error)
			require.Contains(t, reply.Error.Message, "all configured keys are rate-limited", reply.Error.Trace)
		}
		require.Equal(t, 429, plain.Error.Status, plain.Error.Trace)
		return
	}
	conv.content(t, c, api, stream)
	conv.content(t, c, api, plain)
	require.Len(t, stream.Answers, len(plain.Answers))
	for i := range plain.Answers {
		view := sameness{without: c.forgets, anyOrder: c.shuffles}
		require.Equal(t, view.of(t, plain.Answers[i].Object), view.of(t, stream.Answers[i].Object), "answer %d", i+1)
		require.NotEmpty(t, stream.Answers[i].Events)
	}
}

// content compares one reply with what should have been said.
func (conv conversation) content(t require.TestingT, c sdkClient, api string, reply sdks.Reply) {
	if reply.Error != nil {
		require.FailNow(t, reply.Error.Class, "%s", reply.Error.Trace)
	}
	require.NotEmpty(t, reply.Answers)
	last := reply.Answers[len(reply.Answers)-1]
	require.Contains(t, string(last.Object), conv.has)
	var want, got []string
	for _, answers := range conv.texts {
		if c.runs { // it shows the last message, or the last step
			answers = slices.Clone(answers[len(answers)-1:])
		}
		want = append(want, answers...)
	}
	for _, a := range reply.Answers {
		text := a.Text
		if api != "responses" { // there turns have items of their own; here an empty line stands between what they say
			text = strings.ReplaceAll(text, "\n\n", "")
		}
		got = append(got, text)
	}
	if conv.texts != nil {
		require.Len(t, got, len(want))
		for i := range want {
			require.True(t, got[i] == want[i] || c.runs && got[i] != "" && strings.HasSuffix(want[i], got[i]), "%q, want %q", got[i], want[i])
		}
	}
	if api == "responses" && !c.runs {
		for i, a := range reply.Answers {
			want := slices.Clone(conv.items[i])
			if c.hidden {
				want = slices.DeleteFunc(want, func(kind string) bool { return kind == "mcp_call" })
			}
			require.Equal(t, want, types(t, a), "answer %d", i+1)
		}
	}
}
