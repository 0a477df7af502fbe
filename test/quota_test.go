package test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/keyturn/keyturn/internal/admin"
	"github.com/keyturn/keyturn/internal/scripted"
	"github.com/keyturn/keyturn/test/gateway"
	"github.com/keyturn/keyturn/test/postgres"
)

// spenders is a gateway whose clients have limits, each client those of one subtest.
type spenders struct {
	*gateway.Gateway
	names []string
}

// startSpenders starts a gateway with a client for each entry of limits, and one called free.
func startSpenders(t *testing.T, limits map[string]any, top map[string]any, pools ...gateway.Pool) *spenders {
	s := &spenders{names: []string{"free"}}
	for name := range limits {
		if name != "default" && name != "free" {
			s.names = append(s.names, name)
		}
	}
	var lines strings.Builder
	var secrets []string
	for _, name := range s.names {
		fmt.Fprintf(&lines, "%s:%s\n", name, clientKeyOf(name))
		secrets = append(secrets, clientKeyOf(name))
	}
	top["clients"] = limits
	s.Gateway = gateway.Start(t, gateway.Config{
		Pools: pools, Top: top, Files: map[string]string{"clients.keys": lines.String()}, Secrets: secrets,
		Envoy: map[string]any{"clients": map[string]any{"api_keys_file": "clients.keys"}},
	})
	s.Provider.Default(good)
	return s
}

func clientKeyOf(name string) string { return "kt-client-key-0123456789-" + name }

// as posts a request as a client.
func (s *spenders) as(t *testing.T, client, path, body string, headers ...string) gateway.Response {
	t.Helper()
	return s.Post(t, path, body, append([]string{"x-keyturn-key", clientKeyOf(client)}, headers...)...)
}

// standing is what the admin endpoint shows of a client.
func (s *spenders) standing(t *testing.T, client string) (found admin.Client) {
	t.Helper()
	var all struct{ Clients []admin.Client }
	resp := s.Admin(t, http.MethodGet, "/api/v1/clients")
	require.Equal(t, http.StatusOK, resp.Status, resp.Body)
	require.NoError(t, json.Unmarshal([]byte(resp.Body), &all))
	for _, c := range all.Clients {
		if c.Name == client {
			return c
		}
	}
	return found
}

// over holds an answer to be that of a limit, in the form that the SDKs of its path read.
func over(t *testing.T, resp gateway.Response, path, limit string) {
	t.Helper()
	require.Equal(t, http.StatusTooManyRequests, resp.Status, resp.Body)
	wait, err := strconv.Atoi(resp.Header.Get("retry-after"))
	require.NoError(t, err, resp.Header)
	require.Positive(t, wait)
	shape(t, resp, path, "rate_limit_error", "client_limit_exceeded", limit)
}

// shape holds an error to its dialect.
func shape(t *testing.T, resp gateway.Response, path, typ, code, part string) {
	t.Helper()
	var body struct {
		Type  string
		Error struct{ Type, Message, Code string }
	}
	require.NoError(t, json.Unmarshal([]byte(resp.Body), &body), resp.Body)
	require.Equal(t, typ, body.Error.Type, resp.Body)
	require.Contains(t, body.Error.Message, part)
	if strings.Contains(path, "/messages") {
		require.Equal(t, "error", body.Type)
	} else {
		require.Equal(t, code, body.Error.Code)
	}
	require.Equal(t, code, resp.Header.Get("x-keyturn-error"))
}

var (
	twoPools = []gateway.Pool{{Keys: []string{"quota-key-0", "quota-key-1"}}, {Provider: "anthropic", Keys: []string{"quota-key-2"}}}

	responsesAsk = `{"model":"gpt-5-mini","input":"hi"}`
	messagesAsk  = `{"model":"claude-x","max_tokens":100,"messages":[{"role":"user","content":"hi"}]}`
	chatAsk      = `{"model":"gpt-5-mini","messages":[{"role":"user","content":"hi"}]}`
)

const (
	responsesPath = "/openai/v1/responses"
	chatPath      = "/openai/v1/chat/completions"
	messagesPath  = "/anthropic/v1/messages"
)

// TestLimitsOfClients holds each limit, for each dialect, on a gateway whose clients have one limit each.
func TestLimitsOfClients(t *testing.T) {
	t.Parallel()
	s := startSpenders(t, map[string]any{
		"default": map[string]any{"requests_per_minute": 2},
		"free":    map[string]any{"requests_per_minute": 1_000_000},
		"pools":   map[string]any{"pools": []string{"openai"}},
		"models":  map[string]any{"models": []string{"gpt-5*"}},
		"minute":  map[string]any{"tokens_per_minute": 5000},
		"day":     map[string]any{"tokens_per_day": 5000},
		"month":   map[string]any{"spend_per_month": 0.01},
		"one":     map[string]any{"parallel": 1},
		"turned":  map[string]any{"parallel": 1, "requests_per_minute": 3},
		"cut":     map[string]any{"tokens_per_minute": 3000},
	}, map[string]any{"record": map[string]any{"tell": true, "prices": []map[string]any{{"model": "gpt-5*", "input": 1, "output": 1}}}}, twoPools...)
	// Keys without an entry of their own: the default's.
	require.NoError(t, os.WriteFile(filepath.Join(s.Dir, "clients.keys"), []byte(keyLines(append(s.names, "bob", "cleo", "dan"))), 0o600))
	s.Hangup(t)
	s.Eventually(t, "the clients are known", func() bool { return strings.Contains(s.Log(), `"configuration applied"`) })

	t.Run("requests", func(t *testing.T) {
		for client, ask := range map[string][2]string{"bob": {responsesPath, responsesAsk}, "cleo": {chatPath, chatAsk}, "dan": {messagesPath, messagesAsk}} {
			for i := range 2 {
				resp := s.as(t, client, ask[0], ask[1])
				require.Equal(t, http.StatusOK, resp.Status, resp.Body)
				require.Equal(t, []string{"2", strconv.Itoa(1 - i)}, []string{resp.Header.Get("x-ratelimit-limit-requests"), resp.Header.Get("x-ratelimit-remaining-requests")})
			}
			resp := s.as(t, client, ask[0], ask[1])
			over(t, resp, ask[0], "requests_per_minute: 2")
			require.Equal(t, "0", resp.Header.Get("x-ratelimit-remaining-requests"))
		}
		require.Equal(t, 401, s.Post(t, responsesPath, responsesAsk, "x-keyturn-key", "kt-client-key-0123456789-nobody", "x-keyturn-client", "free").Status)
		over(t, s.as(t, "bob", responsesPath, responsesAsk, "x-keyturn-client", "free", "x-keyturn-turn", "2", "x-keyturn-id", "x", "x-envoy-attempt-count", "7"), responsesPath, "bob")
		require.Equal(t, 200, s.as(t, "free", responsesPath, responsesAsk).Status, "who pays is whom Envoy knows")
	})
	t.Run("pools", func(t *testing.T) {
		require.Equal(t, 200, s.as(t, "pools", responsesPath, responsesAsk).Status)
		resp := s.as(t, "pools", messagesPath, messagesAsk)
		require.Equal(t, 403, resp.Status)
		shape(t, resp, messagesPath, "permission_error", "pool_not_allowed", "anthropic")
	})
	t.Run("models", func(t *testing.T) {
		before := s.Provider.Count()
		require.Equal(t, 200, s.as(t, "models", responsesPath, responsesAsk).Status)
		require.Equal(t, 200, s.as(t, "models", chatPath, chatAsk).Status)
		require.Equal(t, 200, s.as(t, "models", responsesPath, gzipped(t, responsesAsk), "content-encoding", "gzip").Status)
		after := s.Provider.Count()
		require.Equal(t, before+3, after)
		for _, ask := range [][]string{
			{messagesPath, messagesAsk},
			{responsesPath, `{"model":"o9","input":"hi"}`},
			{responsesPath, `{"model":"gpt-5","model":"o9","input":"hi"}`},
			{responsesPath, `{"model":"gpt-5","Model":"o9","input":"hi"}`},
			{responsesPath, `{"input":"hi"}`},
			{responsesPath, `no json`},
			{responsesPath, gzipped(t, `{"model":"o9"}`), "content-encoding", "gzip"},
			{responsesPath, responsesAsk, "content-encoding", "unheard-of"},
			{"/openai/v1/audio/transcriptions", "--x\r\n", "content-type", "multipart/form-data; boundary=x"},
		} {
			resp := s.as(t, "models", ask[0], ask[1], ask[2:]...)
			require.Equal(t, 403, resp.Status, "%v %s", ask, resp.Body)
			shape(t, resp, ask[0], "permission_error", "model_not_allowed", "models")
		}
		require.Equal(t, after, s.Provider.Count(), "nothing of it has reached the provider")
	})
	t.Run("tokens of a minute and of a day", func(t *testing.T) {
		s.Provider.Default(good.Usage(3000, 2000))
		for _, tc := range [][2]string{{"minute", "tokens_per_minute: 5000"}, {"day", "tokens_per_day: 5000"}} {
			require.Equal(t, 200, s.as(t, tc[0], responsesPath, responsesAsk).Status)
			s.Eventually(t, "the record counts", func() bool { return s.standing(t, tc[0]).Reserved == 0 })
			require.EqualValues(t, 5000, s.standing(t, tc[0]).TokensPerDay.Used)
			over(t, s.as(t, tc[0], responsesPath, responsesAsk), responsesPath, tc[1])
		}
	})
	t.Run("spend", func(t *testing.T) {
		s.Provider.Default(good.Usage(6000, 4000)) // at a dollar a million
		require.Equal(t, 200, s.as(t, "month", responsesPath, responsesAsk).Status)
		s.Eventually(t, "the record counts", func() bool { return s.standing(t, "month").Reserved == 0 })
		require.InDelta(t, 0.01, s.standing(t, "month").SpendPerMonth.Used, 1e-9)
		resp := s.as(t, "month", responsesPath, responsesAsk)
		over(t, resp, responsesPath, "spend_per_month: $0.01")
		require.Equal(t, "false", resp.Header.Get("x-should-retry"))
	})
	t.Run("at the same time", func(t *testing.T) {
		s.Provider.Default(scripted.HangMidBody(scripted.Chunks(2000, 0)))
		ask := `{"model":"m","input":"hi","stream":true}`
		ctx, cancel := context.WithCancel(t.Context())
		resp, err := s.Client.Do(s.Request(t, http.MethodPost, responsesPath, strings.NewReader(ask), "x-keyturn-key", clientKeyOf("one")).WithContext(ctx))
		require.NoError(t, err)
		require.Equal(t, 200, resp.StatusCode)
		over(t, s.as(t, "one", responsesPath, ask), responsesPath, "parallel: 1")
		require.EqualValues(t, 1, s.standing(t, "one").Parallel.Used)
		cancel()
		resp.Body.Close()
		s.Eventually(t, "the place is free", func() bool { return s.standing(t, "one").Parallel.Used == 0 })
		s.Provider.Default(good)
		for _, stream := range []string{"false", "true"} { // one after another each has it
			for range 20 {
				resp := s.as(t, "one", responsesPath, `{"model":"m","input":"hi","stream":`+stream+`}`)
				if resp.Status == 429 { // Envoy ends the stream of the one before a moment after its client has it
					s.Eventually(t, "the place is free", func() bool { return s.standing(t, "one").Parallel.Used == 0 })
					continue
				}
				require.Equal(t, 200, resp.Status, resp.Body)
			}
		}
	})
	t.Run("a request that turns keys is one", func(t *testing.T) {
		s.Reset(t)
		s.Provider.Default(good)
		s.Provider.Key("quota-key-0", scripted.RateLimited(time.Minute))
		require.Equal(t, 200, s.as(t, "turned", responsesPath, responsesAsk).Status)
		require.EqualValues(t, 1, s.standing(t, "turned").RequestsPerMinute.Used)
		s.Eventually(t, "the place is free", func() bool { return s.standing(t, "turned").Parallel.Used == 0 })
		s.Reset(t)
	})
	t.Run("a stream whose usage nobody has seen costs what its size says", func(t *testing.T) {
		s.Provider.Default(scripted.CutAfter(1000, scripted.Chunks(2000, 0)))
		_, err := s.TryDo(s.Request(t, http.MethodPost, chatPath, strings.NewReader(`{"model":"m","stream":true,"messages":[{"role":"user","content":"`+strings.Repeat("x", 8000)+`"}]}`), "x-keyturn-key", clientKeyOf("cut")))
		require.Error(t, err)
		s.Eventually(t, "the record counts", func() bool { return s.standing(t, "cut").Reserved == 0 })
		require.Greater(t, s.standing(t, "cut").TokensPerMinute.Used, 2000.0)
	})
	require.Positive(t, s.Metric(t, "keyturn_client_limit_refusals_total", "limit", "requests_per_minute"))
	require.NotContains(t, s.Log(), clientKeyOf("bob"))
	out, err := exec.CommandContext(t.Context(), gateway.Keyturn(t), "clients", "-c", s.ConfigFile()).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Regexp(t, `(?m)^CLIENT +PARALLEL +REQUESTS/MIN +TOKENS/MIN +TOKENS/DAY +USD/MONTH$`, string(out))
	require.Regexp(t, `(?m)^day +0 +\d+ +\d+ +5000/5000 +\d`, string(out))
	require.Regexp(t, `(?m)^bob +0 +2/2 `, string(out))
}

func keyLines(names []string) string {
	var lines strings.Builder
	for _, name := range names {
		fmt.Fprintf(&lines, "%s:%s\n", name, clientKeyOf(name))
	}
	return lines.String()
}

func gzipped(t *testing.T, text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write([]byte(text))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return b.String()
}

// TestNeverMoreAtTheSameTime holds that of many requests at once, some of which turn keys, no more are at the provider than the limit says, and that
// no place is lost.
func TestNeverMoreAtTheSameTime(t *testing.T) {
	t.Parallel()
	var provider atomic.Pointer[scripted.Provider]
	var in, most, refused atomic.Int64
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := in.Add(1)
		defer in.Add(-1) // before the response's end can reach anybody
		for m := most.Load(); n > m; m = most.Load() {
			if most.CompareAndSwap(m, n) {
				break
			}
		}
		provider.Load().ServeHTTP(w, r)
	}))
	t.Cleanup(upstream.Close)
	s := startSpenders(t, map[string]any{"ann": map[string]any{"parallel": 3}}, map[string]any{},
		gateway.Pool{Keys: []string{"parallel-key-0", "parallel-key-1", "parallel-key-2"}, Upstream: upstream.URL})
	provider.Store(s.Provider)
	s.Provider.Default(scripted.Chunks(5, 5*time.Millisecond))
	s.Provider.Key("parallel-key-0", scripted.RateLimited(time.Minute))
	s.Provider.Key("parallel-key-1", scripted.Seq(scripted.Chunks(5, 5*time.Millisecond), scripted.Status(500, `{}`), scripted.Chunks(5, 5*time.Millisecond)))
	var all sync.WaitGroup
	for range 12 {
		all.Go(func() {
			for range 15 {
				resp, err := s.TryDo(s.Request(t, http.MethodPost, responsesPath, strings.NewReader(`{"model":"m","input":"hi","stream":true}`), "x-keyturn-key", clientKeyOf("ann")))
				if err == nil && resp.Status == http.StatusTooManyRequests {
					refused.Add(1)
				}
			}
		})
	}
	all.Wait()
	require.LessOrEqual(t, most.Load(), int64(3))
	require.Greater(t, most.Load(), int64(1))
	require.Positive(t, refused.Load())
	s.Eventually(t, "every place is free", func() bool { return s.standing(t, "ann").Parallel.Used == 0 })
}

// TestLimitsOutliveTheProcess holds that a restart keeps the day's and the month's counts, does not cut what streams, and that a reload changes limits.
func TestLimitsOutliveTheProcess(t *testing.T) {
	t.Parallel()
	secret := filepath.Join(t.TempDir(), "url")
	require.NoError(t, os.WriteFile(secret, []byte(postgres.Start(t).Database(t)), 0o600))
	for name, store := range map[string]any{"sqlite": "records", "postgres": map[string]any{"url": map[string]any{"file": secret}}} {
		t.Run(name, func(t *testing.T) { limitsOutlive(t, map[string]any{name: store}) })
	}
}

// limitsOutlive is TestLimitsOutliveTheProcess with one store of records.
func limitsOutlive(t *testing.T, record map[string]any) {
	record["prices"] = []map[string]any{{"model": "*", "input": 1, "output": 1}}
	s := startSpenders(t, map[string]any{
		"day": map[string]any{"tokens_per_day": 5000, "parallel": 5}, "month": map[string]any{"spend_per_month": 0.01},
	}, map[string]any{"record": record}, gateway.Pool{Keys: []string{"restart-key-0"}})
	since := time.Now()
	s.Provider.Default(good.Usage(6000, 4000))
	for _, client := range []string{"day", "month"} {
		require.Equal(t, 200, s.as(t, client, responsesPath, responsesAsk).Status)
	}
	recorded(t, s.Gateway, "openai", since, 2)
	s.Provider.Default(scripted.Chunks(40, 50*time.Millisecond))
	stream, err := s.Client.Do(s.Request(t, http.MethodPost, responsesPath, strings.NewReader(`{"model":"m","input":"hi","stream":true}`), "x-keyturn-key", clientKeyOf("free")))
	require.NoError(t, err)
	defer stream.Body.Close()
	s.StopProcessor(t)
	s.StartProcessor(t)
	var rest bytes.Buffer
	_, err = rest.ReadFrom(stream.Body)
	require.NoError(t, err)
	require.Contains(t, rest.String(), "response.completed")
	over(t, s.as(t, "day", responsesPath, responsesAsk), responsesPath, "tokens_per_day: 5000")
	over(t, s.as(t, "month", responsesPath, responsesAsk), responsesPath, "spend_per_month")

	b, err := os.ReadFile(s.ConfigFile())
	require.NoError(t, err)
	var file map[string]any
	require.NoError(t, yaml.Unmarshal(b, &file))
	file["clients"] = map[string]any{"day": map[string]any{"tokens_per_day": 20_000}, "default": map[string]any{"requests_per_minute": 1}}
	b, err = yaml.Marshal(file)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(s.ConfigFile(), b, 0o600))
	require.Equal(t, http.StatusOK, s.Admin(t, http.MethodPost, "/api/v1/reload").Status)
	s.Provider.Default(good)
	require.Equal(t, 200, s.as(t, "day", responsesPath, responsesAsk).Status)
	require.Equal(t, 200, s.as(t, "month", responsesPath, responsesAsk).Status)
	over(t, s.as(t, "month", responsesPath, responsesAsk), responsesPath, "requests_per_minute: 1")
}

// TestNamelessClientsShareAnAccount holds that whom nobody asks who he is cannot have an account for each credential that he makes up.
func TestNamelessClientsShareAnAccount(t *testing.T) {
	t.Parallel()
	gw := gateway.Start(t, gateway.Config{Top: map[string]any{"clients": map[string]any{"default": map[string]any{"requests_per_minute": 2}}}})
	gw.Provider.Default(good)
	for i := range 2 {
		require.Equal(t, 200, gw.Post(t, responsesPath, responsesAsk, "authorization", fmt.Sprint("Bearer made-up-", i), "x-keyturn-client", fmt.Sprint("made-up-", i)).Status)
	}
	over(t, gw.Post(t, responsesPath, responsesAsk, "authorization", "Bearer made-up-3", "x-keyturn-client", "made-up-3"), responsesPath, "without a name")
}
