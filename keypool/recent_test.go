package keypool_test

import (
	"testing"
	"time"

	"github.com/coder/quartz"
	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/keypool"
)

func TestActivity(t *testing.T) {
	clock := quartz.NewMock(t)
	p, err := keypool.New([]string{"key-one-long", "key-two-long"}, clock)
	require.NoError(t, err)
	next := func() *keypool.Key {
		k, none := p.Walker().Next()
		require.Nil(t, none)
		return k
	}
	last := func(i int) []keypool.Minute { return p.Activity()[i].Minutes[keypool.RecentMinutes-3:] }

	require.Empty(t, p.Activity()[0].Failures)
	next()
	k := next()
	p.Mark(k, keypool.Verdict{Class: keypool.CallerFault}, "m")
	require.Equal(t, []keypool.Minute{{}, {}, {Requests: 2}}, last(0), "a request's own fault is nobody's failure")
	clock.Advance(time.Minute)
	p.Mark(next(), keypool.Verdict{Class: keypool.Transient, Action: keypool.NextKey, Code: "overloaded"}, "m")
	require.Equal(t, []keypool.Minute{{}, {Requests: 2}, {Requests: 1, Failures: 1}}, last(0))
	require.Equal(t, []keypool.Failure{{At: clock.Now(), Class: keypool.Transient, Code: "overloaded"}}, p.Activity()[0].Failures)
	require.Equal(t, make([]keypool.Minute, 3), last(1), "the other key did nothing")

	for range 2 * keypool.RecentFailures {
		p.Mark(k, keypool.Verdict{Class: keypool.Transient, Action: keypool.NextKey, Code: "later"}, "m")
	}
	require.Len(t, p.Activity()[0].Failures, keypool.RecentFailures)
	require.Equal(t, "later", p.Activity()[0].Failures[keypool.RecentFailures-1].Code, "the oldest are forgotten")

	clock.Advance(59 * time.Minute)
	require.Equal(t, keypool.Minute{Requests: 1, Failures: 11}, p.Activity()[0].Minutes[0], "the last hour")
	clock.Advance(time.Minute)
	require.Equal(t, [keypool.RecentMinutes]keypool.Minute{}, p.Activity()[0].Minutes)
	next()
	require.Equal(t, keypool.Minute{Requests: 1}, p.Activity()[0].Minutes[keypool.RecentMinutes-1], "a place is used again")
}

func TestActivityCostsNoAllocation(t *testing.T) {
	p, err := keypool.New([]string{"key-one-long"}, nil)
	require.NoError(t, err)
	k, none := p.Walker().Next()
	require.Nil(t, none)
	v := keypool.Verdict{Class: keypool.Transient, Action: keypool.NextKey}
	require.Zero(t, testing.AllocsPerRun(100, func() { p.Mark(k, v, "") }))
}
