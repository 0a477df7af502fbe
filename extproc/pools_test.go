package extproc

import (
	"testing"
	"time"

	"github.com/coder/quartz"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/metric/noop"

	"github.com/keyturn/keyturn/internal/agent"
	"github.com/keyturn/keyturn/keypool"
)

// named is the configuration of a pool of keys with that name.
func named(name string, keys ...string) keypool.Config {
	cfg := keypool.Defaults()
	cfg.Name = name
	for _, k := range keys {
		cfg.Keys = append(cfg.Keys, keypool.KeyConfig{Secret: k})
	}
	return cfg
}

// TestMemoryOutlivesReload holds that a pool's memory stays when the pools are replaced, and goes with the pool or with its tools.
func TestMemoryOutlivesReload(t *testing.T) {
	m, err := newMetrics(noop.NewMeterProvider(), func() *poolSet { return nil })
	require.NoError(t, err)
	all := newMemories(quartz.NewMock(t))
	keys, err := keypool.NewPool(named("openai", "k0-long-key"), quartz.NewMock(t))
	require.NoError(t, err)
	reload := func(tools *Tools) *bound {
		set, err := newPoolSet([]Pool{{Keys: keys, Cluster: "c", Header: "x-api-key", Tools: tools}}, m, all)
		require.NoError(t, err)
		all.keep(set)
		return set.all[0]
	}
	first := reload(&Tools{Servers: []string{"demo"}})
	first.memory.For("alice").Put("key", []byte("value"))
	_, known := reload(&Tools{Servers: []string{"other"}, MemoryBytes: 1 << 20}).memory.For("alice").Get("key")
	require.True(t, known)

	require.Nil(t, reload(&Tools{Servers: []string{"demo"}, Memory: -1}).memory)
	require.Empty(t, all.pools)
	_, known = reload(&Tools{Servers: []string{"demo"}}).memory.For("alice").Get("key")
	require.False(t, known)
	require.Nil(t, reload(nil).memory)
	require.Empty(t, all.pools)
}

// TestToolsAtTheirBounds holds that the least that may be set is taken as it is, and less is refused.
func TestToolsAtTheirBounds(t *testing.T) {
	m, err := newMetrics(noop.NewMeterProvider(), func() *poolSet { return nil })
	require.NoError(t, err)
	keys, err := keypool.NewPool(named("openai", "k0-long-key"), quartz.NewMock(t))
	require.NoError(t, err)
	bindWith := func(change func(*Tools)) (*poolSet, error) {
		tools := Tools{Servers: []string{"demo"}, Turns: 2, Calls: 1, Time: time.Second, ResultBytes: 1 << 10, Memory: time.Millisecond, MemoryBytes: 1 << 20}
		change(&tools)
		return newPoolSet([]Pool{{Keys: keys, Cluster: "c", Header: "x-api-key", MaxBody: 1 << 10, Tools: &tools}}, m, newMemories(quartz.NewMock(t)))
	}
	set, err := bindWith(func(*Tools) {})
	require.NoError(t, err)
	limits := (&exchange{home: set.all[0], pool: set.all[0]}).limits()
	require.True(t, limits.Room(1<<40), "nothing bounds them yet")
	limits.Room = nil
	require.Equal(t, agent.Limits{Turns: 2, Calls: 1, Time: time.Second, ResultBytes: 1 << 10, MaxBody: 1 << 10}, limits)
	for name, change := range map[string]func(*Tools){
		"server": func(t *Tools) { t.Servers = nil }, "turns": func(t *Tools) { t.Turns = 1 }, "calls": func(t *Tools) { t.Calls = -1 },
		"time": func(t *Tools) { t.Time = time.Second - 1 }, "result_bytes": func(t *Tools) { t.ResultBytes = 1<<10 - 1 },
	} {
		_, err := bindWith(change)
		require.ErrorContains(t, err, name)
	}
}

// TestKeptBuffersAreBounded holds that an attempt that is kept for another one holds neither what it served nor large buffers.
func TestKeptBuffersAreBounded(t *testing.T) {
	x := exchange{before: trail{tried: []string{"a"}}, id: []byte("request"), front: front{id: []byte("request")}, model: "m", chunk: make([]byte, 10, keptBytes+1), mut: mutation{make([]byte, 10, 100)}, dyn: dynamic{make([]byte, 10, 1<<20)}}
	x.out.chunk(make([]byte, 5000), false, nil)
	x.clear()
	require.Zero(t, cap(x.chunk)+cap(x.dyn.wire))
	require.Equal(t, 100, cap(x.mut.wire))
	require.Empty(t, x.id)
	x.id, x.mut.wire, x.chunk, x.dyn.wire = nil, nil, nil, nil
	require.Equal(t, exchange{}, x)
}
