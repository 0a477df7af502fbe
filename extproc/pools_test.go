package extproc

import (
	"testing"

	"github.com/coder/quartz"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/metric/noop"

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
