package keypool_test

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/coder/quartz"
	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/keypool"
)

// The day: conversations of agents in working hours, over keys whose provider counts requests by the minute and tells with each answer what is left.
const (
	dayKeys          = 20
	dayConversations = 200
	dayLimit         = 12                  // requests a minute, of each key
	dayWarm          = time.Hour           // how long the provider has a prompt in its cache after each use
	dayAnswer        = 1                   // seconds until an answer is there: until then nobody knows what it tells
	dayEnd           = 24 * 60 * 60        // seconds
	dayOpen, dayShut = 9 * 3600, 15 * 3600 // when conversations begin, in seconds
)

// dayDemand is which conversations ask in each second of the day.
func dayDemand(seed uint64) [][]int {
	rnd, demand := rand.New(rand.NewPCG(seed, 16)), make([][]int, dayEnd)
	for c := range dayConversations {
		at := dayOpen + rnd.IntN(dayShut-dayOpen)
		for range 100 + rnd.IntN(300) {
			at += 1 + int(rnd.ExpFloat64()*20)
			if at < dayEnd {
				demand[at] = append(demand[at], c)
			}
		}
	}
	return demand
}

// dayProvider counts the requests of each key in fixed windows, as long as a minute, which begin at another second for each key.
type dayProvider struct{ used, window [dayKeys]int }

// left is how many requests a key has left at a second, and in how many seconds it has all again.
func (p *dayProvider) left(key, now int) (n, reset int) {
	if w := (now + 7*key) / 60; w != p.window[key] {
		p.window[key], p.used[key] = w, 0
	}
	return dayLimit - p.used[key], 60 - (now+7*key)%60
}

// daySeen is what came of a day.
type daySeen struct {
	requests, hits int
	switches       int // to another key, while the prompt was warm with the one before
	forced         int // of those, the ones whose key before had nothing left
	refused        int // 429s of the provider, which clients do not see
	failed, lost   int // requests that no key served, and those among them for which one had something left
}

// dayTalks are the conversations: by which key each was served last, and when.
type dayTalks [dayConversations]struct{ key, at int }

func (s *daySeen) served(talks *dayTalks, p *dayProvider, c, key, now int) {
	last := &talks[c]
	if warm := last.at > 0 && now-last.at < int(dayWarm.Seconds()); warm && last.key == key {
		s.hits++
	} else if warm {
		s.switches++
		if n, _ := p.left(last.key, now); n <= 0 {
			s.forced++
		}
	}
	last.key, last.at = key, now
	p.used[key]++
}

// bestDay is the day by somebody who sees at each moment what every key has left, but not what will come: a conversation keeps its key as long as it can,
// and then takes the one with most left.
func bestDay(demand [][]int) (s daySeen) {
	p, talks := &dayProvider{}, &dayTalks{}
	for now, all := range demand {
		for _, c := range all {
			s.requests++
			best, most := -1, 0
			for k := range dayKeys {
				n, _ := p.left(k, now)
				if own := talks[c].at > 0 && talks[c].key == k; own && n > 0 {
					best = k
					break
				}
				if n > most {
					best, most = k, n
				}
			}
			if best < 0 {
				s.failed++
				continue
			}
			s.served(talks, p, c, best, now)
		}
	}
	return s
}

// days are a pool's day.
type days struct {
	daySeen
	tb    testing.TB
	clk   *quartz.Mock
	pool  *keypool.Pool
	p     dayProvider
	talks dayTalks
	told  map[int][]func() // what answers will tell, by the second
}

// day is the day by a pool.
func day(tb testing.TB, by keypool.By, demand [][]int) daySeen {
	tb.Helper()
	s := &days{tb: tb, clk: quartz.NewMock(tb).WithLogger(quartz.NoOpLogger), told: map[int][]func(){}}
	cfg := spreadConfig(ones(dayKeys))
	cfg.Choose.By, cfg.Headroom = by, keypool.Headroom{Requests: keypool.Amount{Count: 1}}
	var err error
	s.pool, err = keypool.NewPool(cfg, s.clk)
	require.NoError(tb, err)
	passed := 0
	for now, all := range demand {
		if len(all) == 0 && len(s.told[now]) == 0 {
			continue
		}
		s.clk.Advance(time.Duration(now-passed) * time.Second)
		passed = now
		for _, tell := range s.told[now] {
			tell()
		}
		delete(s.told, now)
		for _, c := range all {
			s.ask(c, now)
		}
	}
	return s.daySeen
}

// ask is one request of a conversation, with as many keys as it takes.
func (s *days) ask(c, now int) {
	s.requests++
	for w := s.pool.Walker().Of(uint64(c)); ; {
		k, none := w.Next()
		if none != nil {
			s.failed++
			for i := range dayKeys {
				if n, _ := s.p.left(i, now); n > 0 {
					s.lost++
					return
				}
			}
			return
		}
		i, err := strconv.Atoi(k.Name()[1:])
		require.NoError(s.tb, err)
		left, reset := s.p.left(i, now)
		if left > 0 {
			s.served(&s.talks, &s.p, c, i, now)
			w.Served(k)
			s.tell(k, left-1, now, reset)
			return
		}
		s.refused++
		restKey(k, time.Duration(reset)*time.Second)
	}
}

// tell has the answer tell what its key has left, once it is there.
func (s *days) tell(k *keypool.Key, left, now, reset int) {
	h := map[string]string{
		"x-ratelimit-limit-requests": strconv.Itoa(dayLimit), "x-ratelimit-remaining-requests": strconv.Itoa(left),
		"x-ratelimit-reset-requests": fmt.Sprintf("%ds", reset-dayAnswer),
	}
	s.told[now+dayAnswer] = append(s.told[now+dayAnswer], func() {
		s.pool.Observe(k, "", func(name string) string { return h[name] }, s.clk.Now())
	})
}

// TestDay holds what a day costs: no client sees a 429 while a key has anything left, and hardly a conversation leaves a key that could have served it.
func TestDay(t *testing.T) {
	for seed := range uint64(3) {
		demand := dayDemand(seed)
		best, spread := bestDay(demand), day(t, keypool.Spread, demand)
		require.Zero(t, spread.lost, "seed %d", seed)
		require.Greater(t, spread.forced, 500, "seed %d: the day asks for little", seed)
		require.LessOrEqual(t, float64(spread.switches), 1.1*float64(spread.forced), "seed %d: switches from keys that could serve", seed)
		require.LessOrEqual(t, float64(spread.switches), 1.5*float64(best.switches), "seed %d", seed)
	}
}

// BenchmarkDay prints what choosing by order costs in switches and in the provider's cache, beside spread and the best that can be done.
func BenchmarkDay(b *testing.B) {
	demand := dayDemand(1)
	for name, run := range map[string]func() daySeen{
		"best":   func() daySeen { return bestDay(demand) },
		"order":  func() daySeen { return day(b, keypool.Order, demand) },
		"spread": func() daySeen { return day(b, keypool.Spread, demand) },
	} {
		b.Run(name, func(b *testing.B) {
			var s daySeen
			for b.Loop() {
				s = run()
			}
			b.ReportMetric(float64(s.switches), "switches")
			b.ReportMetric(100*float64(s.hits)/float64(s.requests), "%hits")
			b.ReportMetric(float64(s.refused), "429s")
		})
	}
}
