package test

import (
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/scripted"
	"github.com/keyturn/keyturn/test/gateway"
)

// TestRestartsUnderLoad replaces keyturn while requests fail over, and none is lost: neither where another process takes its place, nor where
// the service manager holds the socket while no process is there.
func TestRestartsUnderLoad(t *testing.T) {
	t.Parallel()
	gw := gateway.Start(t, gateway.Config{Pools: []gateway.Pool{{Keys: poolKeys}}})
	gw.Provider.Key(poolKeys[0], scripted.RateLimited(time.Second)).Key(poolKeys[1], scripted.Agent("hello"))
	t.Run("take-over", func(t *testing.T) {
		withLoad(t, gw, func(served func(int64)) {
			for range 3 {
				served(25)
				gw.TakeOver(t)
			}
			served(25)
		})
		require.Contains(t, gw.Log(), "another process listens in the place of this one")
	})
	t.Run("held socket", func(t *testing.T) {
		gw.StopProcessor(t)
		path := filepath.Join(gw.Dir, "extproc.sock")
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		require.NoError(t, err)
		defer l.Close()
		file, err := l.File()
		require.NoError(t, err)
		defer file.Close()
		gw.StartProcessorWith(t, file)
		withLoad(t, gw, func(served func(int64)) {
			for range 3 {
				served(25)
				gw.StopProcessor(t)
				gw.StartProcessorWith(t, file)
			}
			served(25)
		})
	})
}

// withLoad runs work beside four clients that send one request after the other, and holds that each is answered. What work gets waits until so
// many more are.
func withLoad(t *testing.T, gw *gateway.Gateway, work func(served func(int64))) {
	t.Helper()
	var clients sync.WaitGroup
	var good atomic.Int64
	end, problems := make(chan struct{}), make(chan string, 1000)
	for range 4 {
		clients.Go(func() {
			for {
				select {
				case <-end:
					return
				default:
				}
				resp, err := gw.TryDo(gw.Request(t, http.MethodPost, "/v1/responses", strings.NewReader(`{"model":"m","input":"x"}`)))
				if err != nil || resp.Status != http.StatusOK {
					problems <- fmt.Sprintf("%d %v %s", resp.Status, err, resp.Body)
					continue
				}
				good.Add(1)
			}
		})
	}
	work(func(n int64) {
		until := good.Load() + n
		gw.Eventually(t, "requests are served", func() bool { return good.Load() >= until })
	})
	close(end)
	clients.Wait()
	close(problems)
	for p := range problems {
		t.Error(p)
	}
	require.GreaterOrEqual(t, good.Load(), int64(60))
}
