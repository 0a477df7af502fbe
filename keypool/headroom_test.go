package keypool

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/coder/quartz"
	"github.com/stretchr/testify/require"
)

func headers(pairs ...string) func(string) string {
	return func(name string) string {
		for i := 0; i+1 < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1]
			}
		}
		return ""
	}
}

func poolWithHeadroom(t testing.TB, clock Clock, h Headroom, keys ...KeyConfig) *Pool {
	t.Helper()
	cfg := Defaults()
	cfg.Keys, cfg.Headroom = keys, h
	p, err := NewPool(cfg, clock)
	require.NoError(t, err)
	return p
}

func inOrder(t *testing.T, p *Pool, model string) (all []string) {
	t.Helper()
	w := p.Walker().For(model)
	for {
		k, err := w.Next()
		if err != nil {
			return all
		}
		all = append(all, k.Name())
	}
}

// TestObserve is the table of what answers tell, by the headers of each provider.
func TestObserve(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)
	for _, tc := range []struct {
		name   string
		h      Headroom
		header []string
		low    time.Duration // 0: it is not
		left   float64
	}{
		{"OpenAI, no request left", Headroom{Requests: Amount{Count: 1}}, []string{"x-ratelimit-remaining-requests", "0", "x-ratelimit-limit-requests", "500", "x-ratelimit-reset-requests", "1m12s"}, 72 * time.Second, 0},
		{"OpenAI, one left", Headroom{Requests: Amount{Count: 1}}, []string{"x-ratelimit-remaining-requests", "1", "x-ratelimit-limit-requests", "500", "x-ratelimit-reset-requests", "1m12s"}, 0, 0.002},
		{"OpenAI, few tokens", Headroom{Tokens: Amount{Share: 0.02}}, []string{"x-ratelimit-remaining-tokens", "1999", "x-ratelimit-limit-tokens", "100000", "x-ratelimit-reset-tokens", "59.5s"}, 59500 * time.Millisecond, 0.01999},
		{"OpenAI, enough tokens", Headroom{Tokens: Amount{Share: 0.02}}, []string{"x-ratelimit-remaining-tokens", "2000", "x-ratelimit-limit-tokens", "100000", "x-ratelimit-reset-tokens", "59s"}, 0, 0.02},
		{"of two the longer", Headroom{Requests: Amount{Count: 5}, Tokens: Amount{Count: 5}}, []string{
			"x-ratelimit-remaining-tokens", "1", "x-ratelimit-reset-tokens", "5s", "x-ratelimit-remaining-requests", "1", "x-ratelimit-reset-requests", "9s",
		}, 9 * time.Second, 1},
		{"Anthropic", Headroom{Tokens: Amount{Share: 0.1}}, []string{
			"anthropic-ratelimit-input-tokens-remaining", "1000", "anthropic-ratelimit-input-tokens-limit", "30000", "anthropic-ratelimit-input-tokens-reset", "2026-12-01T12:00:30Z",
		}, 30 * time.Second, 1000.0 / 30000},
		{"OpenRouter", Headroom{Requests: Amount{Count: 1}}, []string{"x-ratelimit-remaining", "0", "x-ratelimit-limit", "20", "x-ratelimit-reset", strconv.FormatInt(now.Add(20*time.Second).UnixMilli(), 10)}, 20 * time.Second, 0},
		{"Together", Headroom{Tokens: Amount{Count: 10}}, []string{"x-tokenlimit-remaining", "3", "x-tokenlimit-limit", "6", "x-tokenlimit-reset", "4"}, 4 * time.Second, 0.5},
		{"a reset that is not said", Headroom{Requests: Amount{Count: 1}}, []string{"x-ratelimit-remaining-requests", "0"}, time.Minute, 1},
		{"a reset in a year", Headroom{Requests: Amount{Count: 1}}, []string{"x-ratelimit-remaining-requests", "0", "x-ratelimit-reset-requests", "9000h"}, time.Hour, 1},
		{"a reset that is past", Headroom{Requests: Amount{Count: 1}}, []string{"x-ratelimit-remaining-requests", "0", "x-ratelimit-reset-requests", "2020-01-01T00:00:00Z"}, time.Minute, 1},
		{"a reset now", Headroom{Requests: Amount{Count: 1}}, []string{"x-ratelimit-remaining-requests", "0", "x-ratelimit-reset-requests", "0s"}, time.Second, 1},
		{"a reset now, in seconds", Headroom{Requests: Amount{Count: 1}}, []string{"x-ratelimit-remaining-requests", "0", "x-ratelimit-reset-requests", "0"}, time.Second, 1},
		{"a reset just past", Headroom{Requests: Amount{Count: 1}}, []string{"x-ratelimit-remaining-requests", "0", "x-ratelimit-reset-requests", "2026-12-01T11:59:58Z"}, time.Second, 1},
		{"more left than there is", Headroom{Tokens: Amount{Share: 0.5}}, []string{"x-ratelimit-remaining-tokens", "10", "x-ratelimit-limit-tokens", "1"}, 0, 1},
		{"nothing of nothing", Headroom{Tokens: Amount{Share: 0.5}}, []string{"x-ratelimit-remaining-tokens", "0", "x-ratelimit-limit-tokens", "0"}, 0, 1},
		{"no number", Headroom{Requests: Amount{Count: 1}}, []string{"x-ratelimit-remaining-requests", "-1", "x-ratelimit-remaining-tokens", "NaN", "x-ratelimit-remaining", "many"}, 0, -1},
		{"no headers", Headroom{Requests: Amount{Count: 1}}, nil, 0, -1},
		{"not asked for", Headroom{}, []string{"x-ratelimit-remaining-requests", "0", "x-ratelimit-reset-requests", "9s"}, 0, -1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			clock := quartz.NewMock(t)
			clock.Set(now)
			p := poolWithHeadroom(t, clock, tc.h, KeyConfig{Secret: "k0-long-key"})
			k, err := p.Walker().Next()
			require.Nil(t, err)
			p.Observe(k, "", headers(tc.header...), now)
			s := p.Snapshot()[0]
			require.Equal(t, Valid, s.State)
			if tc.left < 0 {
				require.Nil(t, s.Left)
			} else {
				require.InDelta(t, tc.left, *s.Left, 1e-9)
			}
			if tc.low == 0 {
				require.True(t, s.LowUntil.IsZero())
				return
			}
			require.Equal(t, tc.low, s.LowUntil.Sub(now))
		})
	}
}

// TestHeadroom holds that a key with little left is passed by while another can serve, that the one with most serves where all have little, and
// that it is back when its allowance is.
func TestHeadroom(t *testing.T) {
	t.Parallel()
	clock := quartz.NewMock(t)
	p := poolWithHeadroom(t, clock, Headroom{Requests: Amount{Count: 10}, Tokens: Amount{Share: 0.5}},
		KeyConfig{Name: "a", Secret: "k0-long-key"}, KeyConfig{Name: "b", Secret: "k1-long-key", Group: "org"}, KeyConfig{Name: "c", Secret: "k2-long-key", Group: "org"}, KeyConfig{Name: "d", Secret: "k3-long-key"})
	tell := func(name, model string, left int, reset string) {
		k, _ := p.Key(name)
		p.Observe(k, model, headers("x-ratelimit-remaining-requests", strconv.Itoa(left), "x-ratelimit-limit-requests", "100", "x-ratelimit-reset-requests", reset), clock.Now())
	}
	require.Equal(t, []string{"a", "b", "c", "d"}, inOrder(t, p, ""))
	tell("a", "", 2, "10s")
	require.Equal(t, []string{"b", "c", "d", "a"}, inOrder(t, p, ""))
	tell("b", "", 5, "20s") // c has its organisation
	require.Equal(t, []string{"d", "b", "c", "a"}, inOrder(t, p, ""))
	tell("d", "gpt", 1, "30s")
	require.Equal(t, []string{"b", "c", "a", "d"}, inOrder(t, p, "gpt"))
	require.Equal(t, []string{"b", "c", "a", "d"}, inOrder(t, p, ""))
	require.Equal(t, []string{"d", "b", "c", "a"}, inOrder(t, p, "other"))
	k, err := p.Walker().For("gpt").Peek()
	require.Nil(t, err)
	require.Equal(t, "b", k.Name())
	k.Disable()
	require.Equal(t, []string{"c", "a", "d"}, inOrder(t, p, "gpt"))
	k.Enable()
	clock.Advance(10 * time.Second).MustWait(context.Background())
	require.Equal(t, []string{"a", "b", "c", "d"}, inOrder(t, p, "gpt"))
	tell("c", "", 50, "20s")
	require.Equal(t, []string{"a", "b", "c", "d"}, inOrder(t, p, "gpt"))
	tell("a", "", 0, "20s")
	k, _ = p.Key("a")
	k.Reset()
	require.Equal(t, "a", inOrder(t, p, "gpt")[0])
}

// TestHeadroomOfModels holds that what one model has left does not hide that another has little.
func TestHeadroomOfModels(t *testing.T) {
	t.Parallel()
	clock := quartz.NewMock(t)
	p := poolWithHeadroom(t, clock, Headroom{Requests: Amount{Count: 10}}, KeyConfig{Name: "a", Secret: "k0-long-key"}, KeyConfig{Name: "b", Secret: "k1-long-key"})
	a, _ := p.Key("a")
	tell := func(model string, left int) {
		p.Observe(a, model, headers("x-ratelimit-remaining-requests", strconv.Itoa(left), "x-ratelimit-reset-requests", "10s"), clock.Now())
	}
	tell("gpt", 1)
	tell("other", 90)
	require.Equal(t, []string{"b", "a"}, inOrder(t, p, "gpt"))
	require.Equal(t, []string{"a", "b"}, inOrder(t, p, "other"))
	tell("gpt", 90)
	require.Equal(t, []string{"a", "b"}, inOrder(t, p, "gpt"))
	tell("gpt", 1)
	tell("", 90) // of no model: it is about all
	require.Equal(t, []string{"a", "b"}, inOrder(t, p, "gpt"))
	tell("gpt", 1)
	clock.Advance(10 * time.Second).MustWait(context.Background())
	tell("other", 1)
	require.Equal(t, []string{"a", "b"}, inOrder(t, p, "gpt"))
	require.Equal(t, []string{"b", "a"}, inOrder(t, p, "other"))
}

func TestAmount(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"0", "1", "2%", "0.5%", "90%", "1000000000"} {
		a, ok := ParseAmount(s)
		require.True(t, ok, s)
		require.Equal(t, s, a.String())
	}
	for _, s := range []string{"", "-1", "1.5", "0%", "91%", "NaN%", "%", "1000000001", "2 %%"} {
		_, ok := ParseAmount(s)
		require.False(t, ok, s)
	}
}

// BenchmarkNextHeadroom chooses among 100 keys, the first of which all have little left.
func BenchmarkNextHeadroom(b *testing.B) {
	var keys []KeyConfig
	for i := range 100 {
		keys = append(keys, KeyConfig{Secret: "long-key-" + strconv.Itoa(i)})
	}
	for _, low := range []int{0, 10, 100} {
		b.Run(strconv.Itoa(low), func(b *testing.B) {
			p := poolWithHeadroom(b, nil, Headroom{Requests: Amount{Count: 1}}, keys...)
			for i := range low {
				k, _ := p.Key(DefaultName("", i))
				p.Observe(k, "", headers("x-ratelimit-remaining-requests", "0", "x-ratelimit-reset-requests", "1h"), time.Now())
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := p.Walker().Next(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
