package extproc

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/coder/quartz"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/metric/noop"

	"github.com/keyturn/keyturn/internal/dialect"
	"github.com/keyturn/keyturn/internal/wire"
	"github.com/keyturn/keyturn/keypool"
)

func TestParseStay(t *testing.T) {
	for _, text := range []string{"session", "client", "none", "header:x-team"} {
		s, ok := ParseStay(text)
		require.True(t, ok, text)
		require.Equal(t, text, s.String())
	}
	s, ok := ParseStay("header:X-Team")
	require.True(t, ok)
	require.Equal(t, "x-team", s.Header)
	for _, text := range []string{
		"", "Session", "header:", "header:a b", "header::path", "header:authorization", "header:X-Api-Key", "header:cookie", "header:x-keyturn-id",
		"header:" + strings.Repeat("a", 101),
	} {
		_, ok := ParseStay(text)
		require.False(t, ok, text)
	}
}

// TestConversation holds what makes two requests one conversation, and that clients cannot join another's.
func TestConversation(t *testing.T) {
	of := func(s Stay, f front, headers ...string) (uint64, bool) {
		m := &message{}
		for _, h := range headers {
			name, value, _ := strings.Cut(h, ": ")
			m.headers = append(m.headers, header{name: []byte(name), value: []byte(value)})
		}
		x := &exchange{pool: &bound{stay: s}, front: f}
		return x.conversation(m)
	}
	alice, bob := front{client: []byte("alice"), id: []byte("1")}, front{client: []byte("bob"), id: []byte("2")}
	hash := func(s Stay, f front, headers ...string) uint64 {
		h, named := of(s, f, headers...)
		require.True(t, named)
		return h
	}
	bySession := Stay{}
	require.Equal(t, hash(bySession, alice, "session_id: a"), hash(bySession, alice, "other: b", "session_id: a"))
	require.NotEqual(t, hash(bySession, alice, "session_id: a"), hash(bySession, alice, "session_id: b"))
	require.NotEqual(t, hash(bySession, alice, "session_id: a"), hash(bySession, bob, "session_id: a"))
	require.NotEqual(t, hash(bySession, front{client: []byte("ab")}, "session_id: c"), hash(bySession, front{client: []byte("a")}, "session_id: bc"))

	byClient := Stay{By: StayByClient}
	require.Equal(t, hash(byClient, alice), hash(byClient, alice, "session_id: a"))
	require.NotEqual(t, hash(byClient, alice), hash(byClient, bob))

	for _, s := range []Stay{bySession, {By: StayByHeader, Header: "x-team"}, {By: StayByNothing}} {
		one, named := of(s, alice)
		require.False(t, named)
		other, _ := of(s, bob)
		require.NotEqual(t, one, other, "each request is one of its own")
		turn := front{client: []byte("alice"), id: []byte("3"), turn: []byte("2"), parent: []byte("1")}
		later, _ := of(s, turn)
		require.Equal(t, one, later, "all turns of a response have one key")
	}
}

// TestPromptCacheKeyNamesTheConversation holds that requests with one prompt_cache_key get one key, in all turns, and that a session's header goes before.
func TestPromptCacheKeyNamesTheConversation(t *testing.T) {
	clock := quartz.NewMock(t).WithLogger(quartz.NoOpLogger)
	cfg := named("openai", "k0-long-key", "k1-long-key", "k2-long-key", "k3-long-key")
	cfg.Choose.By = keypool.Spread
	keys, err := keypool.NewPool(cfg, clock)
	require.NoError(t, err)
	metrics, err := newMetrics(noop.NewMeterProvider(), func() *poolSet { return nil })
	require.NoError(t, err)
	pools, err := newPoolSet([]Pool{{Keys: keys, Cluster: "c", Header: "authorization", Tools: &Tools{Servers: []string{"demo"}}}}, metrics, newMemories(clock))
	require.NoError(t, err)
	trails, requests := newTrails(clock), 0
	begin := func(path string, more ...string) *exchange {
		requests++
		x := &exchange{}
		x.begin(pools, defaultMaxRetry)
		t.Cleanup(x.finish)
		m := &message{kind: requestHeaders, headers: lines(append([]string{":path: " + path, ":method: POST", wire.PoolHeader + ": openai", wire.IDHeader + ": " + strconv.Itoa(requests)}, more...))}
		trails.follow(x, m)
		_, err := x.handle(m, clock.Now())
		require.NoError(t, err)
		return x
	}
	ask := func(path, cacheKey string, more ...string) *exchange {
		x := begin(path, more...)
		body := &message{kind: requestBody, end: true, body: fmt.Appendf(nil, `{"model":"m","input":"hi","messages":[],"prompt_cache_key":%q}`, cacheKey)}
		d, err := x.handle(body, clock.Now())
		require.NoError(t, err)
		require.Equal(t, dueTools, d)
		x.putTools(body, []dialect.Tool{{Name: "bmcp_demo_echo", Server: "demo", Tool: "echo", Schema: []byte(`{"type":"object"}`)}}, dialect.Without{})
		return x
	}
	const path = "/v1/responses"
	used, chat := map[string]bool{}, map[string]bool{}
	for c := range 20 {
		cacheKey := strconv.Itoa(c)
		x := ask(path, cacheKey)
		require.True(t, x.named)
		for range 3 {
			require.Equal(t, x.key.Name(), ask(path, cacheKey).key.Name())
		}
		later := begin(path, wire.TurnHeader+": 2", wire.TalkHeader+": "+strconv.FormatUint(x.tools.origin.Talk, 10))
		require.Equal(t, x.key.Name(), later.key.Name())
		require.False(t, begin(path, wire.TalkHeader+": 7").named, "no client says it")
		used[x.key.Name()] = true
		chat[ask("/v1/chat/completions", "same").key.Name()] = true
	}
	require.Len(t, used, 4)
	require.Greater(t, len(chat), 1, "of Responses alone")
	require.Equal(t, ask(path, "a", "session_id: s").key.Name(), ask(path, "b", "session_id: s").key.Name())
	require.Zero(t, ask(path, "a", "session_id: s").tools.origin.Talk)
}
