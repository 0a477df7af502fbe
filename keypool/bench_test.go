package keypool_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/coder/quartz"
	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/keypool"
)

// chosen keeps the compiler from proving that a key is not used: the filter keeps it too.
var chosen *keypool.Key

func realPool(tb testing.TB, n int) *keypool.Pool {
	tb.Helper()
	var names []string
	for i := range n {
		names = append(names, fmt.Sprintf("k%d-long-key", i))
	}
	p, err := keypool.New(names, quartz.NewReal())
	require.NoError(tb, err)
	return p
}

func TestChoosingAllocatesNothing(t *testing.T) {
	p := realPool(t, 5)
	first := next(t, p)
	tried := []string{first.ID(), next(t, p, first.ID()).ID()}
	p.Mark(first, noModel(time.Hour), "m")
	for name, choose := range map[string]func(){
		"first":     func() { chosen, _ = p.Walker().Next() },
		"tried":     func() { chosen, _ = p.Walker(tried...).Next() },
		"for model": func() { chosen, _ = p.Walker(tried...).For("m").Next() },
		"group":     func() { chosen, _ = p.Walker().WithinFirstGroup().Next() },
		"released": func() {
			w := p.Walker(tried...).For("m")
			chosen, _ = w.Next()
			_, _ = w.Peek()
			w.Release()
		},
		"success": func() { first.MarkSuccess() },
		"counts":  func() { p.Counts() },
		"state":   func() { first.State() },
	} {
		require.Zero(t, testing.AllocsPerRun(100, choose), name)
	}
}

func BenchmarkNext(b *testing.B) {
	b.Run("first of a hundred", func(b *testing.B) {
		p := realPool(b, 100)
		b.ReportAllocs()
		for b.Loop() {
			chosen, _ = p.Walker().Next()
		}
	})
	p := realPool(b, 5)
	tried := []string{firstOf(p).ID()}
	b.Run("first", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			chosen, _ = p.Walker().Next()
		}
	})
	b.Run("tried", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			chosen, _ = p.Walker(tried...).Next()
		}
	})
	b.Run("fifth", func(b *testing.B) {
		p := realPool(b, 5)
		for range 4 {
			restKey(firstOf(p), time.Hour)
		}
		b.ReportAllocs()
		for b.Loop() {
			chosen, _ = p.Walker().Next()
		}
	})
	b.Run("exhausted", func(b *testing.B) {
		p := realPool(b, 5)
		for range 5 {
			restKey(firstOf(p), time.Hour)
		}
		b.ReportAllocs()
		for b.Loop() {
			chosen, _ = p.Walker().Next()
		}
	})
}

func firstOf(p *keypool.Pool) *keypool.Key {
	k, _ := p.Walker().Next()
	return k
}

func BenchmarkNextParallel(b *testing.B) {
	p := realPool(b, 5)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			k, _ := p.Walker().Next()
			k.MarkSuccess()
		}
	})
}

func BenchmarkClassify(b *testing.B) {
	for _, bc := range []struct {
		name string
		h    header
		body string
	}{
		{"empty", header{"retry-after": "5"}, ""},
		{"openai", header{"retry-after": "5"}, openAI("requests", "rate_limit_exceeded", "Please try again in 6m0s.")},
		{"gemini", nil, gemini(429, "RESOURCE_EXHAUSTED", "Please retry in 5s.", quotaFailure("PerMinute")+`,{"retryDelay":"57.2s"}`)},
		{"text", nil, openAI("requests", "rate_limit_exceeded", "Limit 3, Used 3. Please try again in 6m0s.")},
		{"page of 1 MiB", nil, "<!doctype html>" + strings.Repeat("x", 1<<20-100)},
		{"list of 1 MiB", nil, "[{}" + strings.Repeat(",{}", (1<<20-100)/3) + "]"},
	} {
		b.Run(bc.name, func(b *testing.B) {
			a := keypool.Answer{Status: 429, Header: bc.h.get, Body: []byte(bc.body), Now: time.Now()}
			b.ReportAllocs()
			for b.Loop() {
				keypool.Classify(keypool.Policy{}, a)
			}
		})
	}
}
