package test

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/keyturn/keyturn/internal/scripted"
	"github.com/keyturn/keyturn/test/gateway"
)

// reloadRig is a gateway with the pools stays and goes, whose requests for the model "held" wait at the provider until release is closed.
type reloadRig struct {
	*gateway.Gateway
	whole   []byte // the configuration with everything in it
	arrived chan string
	release atomic.Pointer[chan struct{}]
}

func newReloadRig(t *testing.T) *reloadRig {
	r := &reloadRig{arrived: make(chan string, 100)}
	r.hold()
	r.Gateway = gateway.Start(t, gateway.Config{
		Provider: scripted.Config{KeepRequests: 100},
		Pools: []gateway.Pool{
			{Name: "stays", Keys: []string{"stays-key-0", "stays-key-1", "stays-key-2"}, Settings: map[string]any{"revive_after": "1ms", "cooldown": map[string]any{"min": "1ms"}}},
			{Name: "goes", Keys: []string{"goes-key-0", "goes-key-1"}},
		},
	})
	var err error
	r.whole, err = os.ReadFile(r.ConfigFile())
	require.NoError(t, err)
	r.Provider.Default(scripted.Func(func(q scripted.Request) scripted.Answer {
		held := q.Model == "held"
		if held {
			release := *r.release.Load()
			r.arrived <- q.Key
			<-release
		}
		switch {
		case q.Key == "stays-key-0" && !held, held && strings.HasSuffix(q.Key, "-0"):
			return scripted.RateLimited(time.Millisecond)
		case q.Key == "stays-key-1" && !held:
			return scripted.Unauthorized() // given up, and on trial a millisecond later
		}
		return scripted.OK("hello")
	}))
	return r
}

// hold lets the requests for the model held wait from here on.
func (r *reloadRig) hold() {
	release := make(chan struct{})
	r.release.Store(&release)
}

// apply writes the whole configuration, changed, and waits until it is in effect.
func (r *reloadRig) apply(t *testing.T, change func(pools []map[string]any) []map[string]any) {
	t.Helper()
	var doc struct {
		Pools []map[string]any
		Rest  map[string]any `yaml:",inline"`
	}
	require.NoError(t, yaml.Unmarshal(r.whole, &doc))
	doc.Pools = change(doc.Pools)
	b, err := yaml.Marshal(doc)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(r.ConfigFile()+".new", b, 0o600))
	require.NoError(t, os.Rename(r.ConfigFile()+".new", r.ConfigFile()))
	resp := r.Admin(t, http.MethodPost, "/api/v1/reload")
	require.Equal(t, http.StatusOK, resp.Status, resp.Body)
}

func withoutFirstKey(pool map[string]any) {
	pool["keys"] = pool["keys"].([]any)[1:]
}

// start sends a request for the model held and returns when the provider has it.
func (r *reloadRig) start(t *testing.T, pool string) <-chan gateway.Response {
	t.Helper()
	answer := make(chan gateway.Response, 1)
	req := r.Request(t, http.MethodPost, "/"+pool+"/v1/responses", strings.NewReader(`{"model":"held","input":"x"}`))
	go func() {
		resp, err := r.TryDo(req)
		if err != nil {
			resp.Body = err.Error()
		}
		answer <- resp
	}()
	<-r.arrived
	return answer
}

// TestAReloadUnderAttempts takes keys and pools away from attempts that use them.
func TestAReloadUnderAttempts(t *testing.T) {
	t.Parallel()
	r := newReloadRig(t)
	first := r.start(t, "stays") // with stays-key-0, which will fail it
	alone := r.start(t, "goes")  // with goes-key-0, which will fail it too
	r.apply(t, func(pools []map[string]any) []map[string]any {
		withoutFirstKey(pools[0])
		return pools[:1]
	})
	close(*r.release.Load())
	resp := <-first
	require.Equal(t, http.StatusOK, resp.Status, "the next key has served it: %s", resp.Body)
	require.Equal(t, []string{"valid", "valid"}, r.States(t, "stays"), "the key that failed is gone, and no other is blamed for it")
	resp = <-alone
	require.Equal(t, http.StatusServiceUnavailable, resp.Status, resp.Body)
	require.Contains(t, resp.Header.Get("x-keyturn-error"), "pool_unknown")

	r.hold()
	r.apply(t, func(pools []map[string]any) []map[string]any { return pools })
	r.Reset(t)
	require.Equal(t, []string{"valid", "valid", "valid"}, r.States(t, "stays"))
	r.Operate(t, "goes", "key0", "disable")
	served := r.start(t, "goes") // with goes-key-1, which will serve it
	r.apply(t, func(pools []map[string]any) []map[string]any { return pools[:1] })
	close(*r.release.Load())
	resp = <-served
	require.Equal(t, http.StatusOK, resp.Status, "an attempt ends with what it began with: %s", resp.Body)
}

// TestReloadsUnderLoad changes the configuration as fast as it can be, while requests fail over and keys are tried again: no request of the pool
// that stays notices.
func TestReloadsUnderLoad(t *testing.T) {
	t.Parallel()
	r := newReloadRig(t)
	var work sync.WaitGroup
	end := make(chan struct{})
	var asked, gone atomic.Int64
	problems := make(chan string, 1000)
	for _, pool := range []string{"stays", "stays", "stays", "goes", "goes"} {
		work.Go(func() {
			for {
				select {
				case <-end:
					return
				default:
				}
				req := r.Request(t, http.MethodPost, "/"+pool+"/v1/responses", strings.NewReader(`{"model":"m","input":"x"}`))
				resp, err := r.TryDo(req)
				asked.Add(1)
				switch {
				case err == nil && resp.Status == http.StatusOK:
				case err == nil && pool == "goes" && resp.Header.Get("x-keyturn-error") == "pool_unknown":
					gone.Add(1)
				default:
					problems <- fmt.Sprintf("%s: %d %v %s", pool, resp.Status, err, resp.Body)
					return
				}
			}
		})
	}
	all := func(pools []map[string]any) []map[string]any { return pools }
	changes := []func(pools []map[string]any) []map[string]any{
		all,
		func(pools []map[string]any) []map[string]any { return pools[:1] },
		all,
		func(pools []map[string]any) []map[string]any {
			withoutFirstKey(pools[0])
			return pools
		},
		func(pools []map[string]any) []map[string]any { return []map[string]any{pools[1], pools[0]} },
		func(pools []map[string]any) []map[string]any {
			keys := pools[0]["keys"].([]any)
			pools[0]["keys"] = []any{keys[2], keys[1], keys[0]}
			withoutFirstKey(pools[1])
			return pools
		},
	}
	for round := range 30 {
		r.apply(t, changes[round%len(changes)])
		before := asked.Load()
		r.Eventually(t, "requests went on", func() bool { return asked.Load() > before+5 || len(problems) > 0 })
	}
	close(end)
	work.Wait()
	close(problems)
	for p := range problems {
		t.Error(p)
	}
	require.Positive(t, gone.Load(), "no request met the pool that was away")
	r.apply(t, all)
	r.Reset(t)
	require.Equal(t, []string{"valid", "valid", "valid"}, r.States(t, "stays"))
}
