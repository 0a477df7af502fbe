package agent_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/coder/quartz"
	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/agent"
)

func TestMemory(t *testing.T) {
	clock := quartz.NewMock(t)
	m := agent.NewMemory(time.Hour, 3*(200+10+4+1+1), clock)
	a, b := m.For("a"), m.For("b")
	ten := []byte("0123456789")
	a.Put("key1", ten)
	got, ok := a.Get("key1")
	require.True(t, ok)
	require.Equal(t, ten, got)
	_, ok = b.Get("key1")
	require.False(t, ok, "another client's")

	a.Put("key2", ten)
	a.Put("key3", ten)
	_, ok = a.Get("key1") // used last now
	require.True(t, ok)
	a.Put("key4", ten)
	_, ok = a.Get("key2")
	require.False(t, ok, "the one that was used least lately goes")
	_, ok = a.Get("key1")
	require.True(t, ok)

	clock.Advance(time.Hour)
	_, ok = a.Get("key1")
	require.False(t, ok, "its time is over")
	a.Put("key5", ten)
	bytes, values := m.Size()
	require.Equal(t, 1, values, "those whose time is over are gone")
	require.Equal(t, int64(200+10+4+2), bytes)

	a.Put("key6", make([]byte, 4000))
	_, ok = a.Get("key6")
	require.False(t, ok, "larger than everything")
	_, ok = a.Get("key5")
	require.True(t, ok, "and nothing has to go for it")
	a.Put("key5", []byte("new"))
	got, _ = a.Get("key5")
	require.Equal(t, "new", string(got))
	m.SetLimits(time.Hour, 0)
	_, values = m.Size()
	require.Zero(t, values)
}

func TestMemoryHammer(t *testing.T) {
	m := agent.NewMemory(time.Hour, 10_000, quartz.NewReal())
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			mine := m.For(fmt.Sprint(g % 2))
			for i := range 1000 {
				key := fmt.Sprint(i % 50)
				mine.Put(key, []byte(key))
				if v, ok := mine.Get(key); ok && string(v) != key {
					t.Errorf("got %q for %q", v, key)
				}
			}
		})
	}
	wg.Wait()
	bytes, _ := m.Size()
	require.LessOrEqual(t, bytes, int64(10_000))
}
