package test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/keyturn/keyturn/internal/scripted"
	"github.com/keyturn/keyturn/test/gateway"
)

// TestToolsRunOnce holds that whatever keys do after a tool with an effect has run, it has run once.
func TestToolsRunOnce(t *testing.T) {
	count := scripted.Say(scripted.Call("bmcp_demo_count", `{}`))
	quota := scripted.ErrorFirst(scripted.Problem{Status: 429, Type: "rate_limit_error", Code: "rate_limit_exceeded", Message: "slow down"})
	eachSpeech(t, gateway.Config{}, func(t *testing.T, gw *gateway.Gateway, s speech, stream bool) {
		for name, second := range map[string]scripted.Answer{
			"429": scripted.RateLimited(time.Minute), "401": scripted.Unauthorized(), "error within a 200": quota,
		} {
			t.Run(name, func(t *testing.T) {
				if !stream && name == "error within a 200" {
					second = scripted.RateLimited(time.Minute) // a stream's alone
				}
				gw.Reset(t)
				before := len(gw.Tools.Calls("count"))
				gw.Provider.Key(poolKeys[0], scripted.Seq(count, second)).Key(poolKeys[1], scripted.Say(scripted.Text("done")))
				got := s.ask(t, gw, stream, "count")
				require.Equal(t, http.StatusOK, got.Status, got.Body)
				require.Contains(t, got.Body, "done")
				require.Equal(t, []string{poolKeys[0], poolKeys[0], poolKeys[1]}, gw.Provider.Keys())
				require.Len(t, gw.Tools.Calls("count"), before+1, "the tool ran once")
				require.NotEqual(t, "valid", gw.States(t, s.provider)[0])
			})
		}
	})
}

// TestErrorFirst holds that a 200 whose stream begins with an error turns the key, unseen by the client.
func TestErrorFirst(t *testing.T) {
	quota := scripted.ErrorFirst(scripted.Problem{Status: 429, Type: "rate_limit_error", Code: "rate_limit_exceeded", Message: "slow down"})
	policy := scripted.ErrorFirst(scripted.Problem{Status: 400, Type: "invalid_request_error", Code: "content_policy_violation", Message: "no"})
	eachSpeech(t, gateway.Config{}, func(t *testing.T, gw *gateway.Gateway, s speech, stream bool) {
		if !stream {
			return // its status tells
		}
		gw.Provider.Key(poolKeys[0], quota).Key(poolKeys[1], scripted.OK(said))
		got := s.ask(t, gw, true, "hi")
		require.NotContains(t, got.Body, "slow down")
		require.Contains(t, got.Body, s.end)
		require.NoError(t, s.check([]byte(got.Body)))
		require.Equal(t, []string{poolKeys[0], poolKeys[1]}, gw.Provider.Keys())
		require.Equal(t, []string{"temporary", "valid"}, gw.States(t, s.provider))

		gw.Reset(t)
		gw.Provider.Key(poolKeys[0], policy)
		got = s.ask(t, gw, true, "hi")
		require.Contains(t, got.Body, s.fails, "not the key's: the client reads it")
		require.Equal(t, poolKeys[:1], gw.Provider.Keys())
		require.Equal(t, []string{"valid", "valid"}, gw.States(t, s.provider))

		gw.Reset(t)
		gw.Provider.Key(poolKeys[0], quota).Key(poolKeys[1], quota)
		got = s.ask(t, gw, true, "hi")
		require.Contains(t, got.Body, s.fails)
		require.Contains(t, got.Body, "all configured keys are rate-limited")
	})
}

// TestClientLeavesTool holds that the tool and the turn hear of it within a second.
func TestClientLeavesTool(t *testing.T) {
	const soon = time.Second
	eachSpeech(t, gateway.Config{}, func(t *testing.T, gw *gateway.Gateway, s speech, stream bool) {
		ask := func(t *testing.T) (leave context.CancelFunc, done chan error) {
			t.Helper()
			ctx, cancel := context.WithCancel(t.Context())
			req := gw.Request(t, http.MethodPost, s.path, strings.NewReader(s.body(stream, "hi")), s.headers()...).WithContext(ctx)
			done = make(chan error, 1)
			go func() {
				_, err := gw.TryDo(req)
				done <- err
			}()
			return cancel, done
		}
		before := len(gw.Tools.Calls("sleep"))
		gw.Provider.Key(poolKeys[0], scripted.Say(scripted.Call("bmcp_demo_sleep", `{"seconds":300}`)))
		leave, done := ask(t)
		gw.Eventually(t, "the tool runs", func() bool { return len(gw.Tools.Calls("sleep")) > before })
		left := time.Now()
		leave()
		require.Error(t, <-done)
		gw.Eventually(t, "the tool is cancelled", func() bool { return gw.Tools.Calls("sleep")[before].Canceled })
		require.Less(t, time.Since(left), soon)

		gw.Reset(t)
		gw.Provider.Key(poolKeys[0], scripted.Seq(scripted.Say(echo("x")), scripted.Hang()))
		leave, done = ask(t)
		require.NoError(t, gw.Provider.Wait(t.Context(), 2))
		left = time.Now()
		leave()
		require.Error(t, <-done)
		require.NoError(t, gw.Provider.WaitIdle(t.Context()), "the turn is cancelled")
		require.Less(t, time.Since(left), soon)
	})
}

// TestSlowTool holds that a tool may take a minute: the client that streams hears something every ten seconds.
func TestSlowTool(t *testing.T) {
	t.Parallel()
	gw := gateway.Start(t, gateway.Config{Tools: true, Pools: []gateway.Pool{{Provider: "openai"}, {Provider: "anthropic"}}, Envoy: map[string]any{"idle_timeout": "15s"}})
	gw.Provider.Default(afterTools("done", scripted.Call("bmcp_demo_sleep", `{"seconds":61}`)))
	var all errgroup.Group
	for _, s := range speeches {
		for _, stream := range []bool{true, false} {
			all.Go(func() error {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, gw.URL+s.path, strings.NewReader(s.body(stream, "hi")))
				if err != nil {
					return err
				}
				got, err := gw.TryDo(req)
				switch {
				case err != nil:
					return err
				case got.Status != http.StatusOK || !strings.Contains(got.Body, "done"):
					return fmt.Errorf("%s stream=%t: %d %s", s.name, stream, got.Status, got.Body)
				case stream && strings.Count(got.Body, "\n: ")+strings.Count(got.Body, "event: ping") < 5:
					return fmt.Errorf("%s: the client heard too little:\n%s", s.name, got.Body)
				case stream:
					return s.check([]byte(got.Body))
				}
				return nil
			})
		}
	}
	require.NoError(t, all.Wait())
}

// TestManyConversations holds that 200 conversations with tools at once all end well, each with its own result, and leave nothing
// behind.
func TestManyConversations(t *testing.T) {
	t.Parallel()
	const conversations = 200
	gw := gateway.Start(t, gateway.Config{
		Tools: true, Pools: []gateway.Pool{{Provider: "openai"}, {Provider: "anthropic"}}, Provider: scripted.Config{KeepBytes: 64 << 20},
		Top: map[string]any{"log": map[string]any{"level": "error"}},
	})
	gw.Provider.Default(scripted.Func(func(r scripted.Request) scripted.Answer {
		c := r.Conversation()
		switch len(c.Results) {
		case 0:
			return scripted.Say(scripted.Text("let me see"), echo(c.LastUserText), scripted.Call("bmcp_demo_add", `{"a":1,"b":2}`))
		case 2:
			return scripted.Say(echo(c.Results[0].Text + c.Results[1].Text))
		}
		return scripted.Say(scripted.Text("done with " + c.Results[2].Text))
	}))
	run := func(n int) error {
		var all errgroup.Group
		for i := range n {
			s, stream := speeches[i%len(speeches)], i/len(speeches)%2 == 0
			name := fmt.Sprintf("conversation-%d-", i)
			all.Go(func() error {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, gw.URL+s.path, strings.NewReader(s.body(stream, name)))
				if err != nil {
					return err
				}
				got, err := gw.TryDo(req)
				switch {
				case err != nil:
					return err
				case got.Status != http.StatusOK || !strings.Contains(words(got.Body), "done with "+name+"3"):
					return fmt.Errorf("%s %s stream=%t: %d %s", name, s.name, stream, got.Status, got.Body)
				case stream:
					return s.check([]byte(got.Body))
				}
				return nil
			})
		}
		return all.Wait()
	}
	require.NoError(t, run(24)) // sessions, connections and buffers are there then
	settle := func() {
		gw.Eventually(t, "nothing runs", func() bool { return gw.Metric(t, "keyturn_streams") == 0 })
		gw.Client.CloseIdleConnections()
	}
	settle()
	goroutines, memory := gw.Metric(t, "go_goroutines"), gw.EnvoyMemory(t)
	for range 2 {
		require.NoError(t, run(conversations))
	}
	settle()
	// Connections to the loopback and to the MCP server go when they have been idle; each has three goroutines.
	gw.Eventually(t, "the goroutines have ended", func() bool { return gw.Metric(t, "go_goroutines") <= goroutines+20 })
	gw.Eventually(t, "Envoy's memory is back", func() bool { return gw.EnvoyMemory(t) < 2*memory+8e6 })
	require.InDelta(t, 3*(24+2*conversations), gw.Metric(t, "keyturn_tool_calls_total", `outcome="ok"`), 0)
}

// words takes out of a stream what stands between the pieces of its text: "do" and "ne" in two events are "done".
func words(body string) string {
	var text strings.Builder
	for line := range strings.Lines(body) {
		data, ok := strings.CutPrefix(strings.TrimSpace(line), "data: ")
		if !ok {
			continue
		}
		for _, member := range []string{`"delta":"`, `"content":"`, `"text":"`} {
			if strings.Contains(data, `arguments`) {
				continue
			}
			if _, after, found := strings.Cut(data, member); found {
				piece, _, _ := strings.Cut(after, `"`)
				text.WriteString(piece)
			}
		}
	}
	return body + text.String()
}

// TestLiveText holds that what the model says before a call reaches the client before the tool has run.
func TestLiveText(t *testing.T) {
	eachSpeech(t, gateway.Config{}, func(t *testing.T, gw *gateway.Gateway, s speech, stream bool) {
		if !stream {
			return
		}
		before := len(gw.Tools.Calls("sleep"))
		gw.Provider.Default(afterTools("done", scripted.Text("Moment."), scripted.Call("bmcp_demo_sleep", `{"seconds":300}`)))
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		resp, err := gw.Client.Do(gw.Request(t, http.MethodPost, s.path, strings.NewReader(s.body(true, "hi")), s.headers()...).WithContext(ctx))
		require.NoError(t, err)
		defer resp.Body.Close()
		for lines, seen := bufio.NewReader(resp.Body), ""; !strings.Contains(seen, "Moment."); {
			line, err := lines.ReadString('\n')
			require.NoError(t, err, seen)
			seen += line
		}
		gw.Eventually(t, "the tool runs", func() bool { return len(gw.Tools.Calls("sleep")) > before })
		require.False(t, gw.Tools.Calls("sleep")[before].Done)
		cancel()
		_, err = io.Copy(io.Discard, resp.Body)
		require.True(t, errors.Is(err, context.Canceled), "%v", err)
		gw.Provider.Default(nil)
	})
}
