package test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/scripted"
	"github.com/keyturn/keyturn/test/gateway"
)

const uploadBytes = 20 << 20

// uploadLetters sends a body of uploadBytes in chunks, and returns the status; 0: the connection broke.
func uploadLetters(ctx context.Context, gw *gateway.Gateway, path string) int {
	body := io.MultiReader(strings.NewReader(`{"model":"m","input":"`), io.LimitReader(letters{}, uploadBytes), strings.NewReader(`"}`))
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, gw.URL+path, body)
	if err != nil {
		return 0
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := gw.TryDo(req)
	if err != nil {
		return 0
	}
	return resp.Status
}

type letters struct{}

func (letters) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

// uploads sends so many at once, and says of each what came of it.
func uploads(ctx context.Context, gw *gateway.Gateway, path string, n int) <-chan int {
	ended := make(chan int, n)
	for range n {
		go func() { ended <- uploadLetters(ctx, gw, path) }()
	}
	return ended
}

// TestEnvoyMemoryIsBounded: clients that send much at once, to a provider that answers nobody, do not take Envoy's memory beyond what it may have, and
// others are served afterwards.
func TestEnvoyMemoryIsBounded(t *testing.T) {
	t.Parallel()
	const most, clients = 128 << 20, 40
	silent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		if n > 1<<20 {
			<-r.Context().Done() // Envoy holds the request meanwhile, to send it again
			return
		}
		_, _ = io.WriteString(w, `{}`)
	}))
	t.Cleanup(silent.Close) // after the gateway, whose connections it would wait for
	gw := gateway.Start(t, gateway.Config{
		Envoy: map[string]any{"memory": "128MiB"},
		Pools: []gateway.Pool{{Name: "silent", Upstream: silent.URL}},
	})
	ctx, leave := context.WithTimeout(t.Context(), 20*time.Second)
	defer leave()
	ended := uploads(ctx, gw, "/silent/v1/files", clients)
	for range clients / 4 {
		require.NotEqual(t, http.StatusOK, <-ended, "it was cut, or refused")
	}
	leave()
	for range clients - clients/4 {
		<-ended
	}
	t.Logf("Envoy took %d MiB for %d MiB", gateway.PeakMemory(t, gw.EnvoyPID())>>20, clients*uploadBytes>>20)
	require.Less(t, gateway.PeakMemory(t, gw.EnvoyPID()), clients*uploadBytes*2/3)
	gw.Eventually(t, "others are served", func() bool {
		resp, err := gw.TryDo(gw.Request(t, http.MethodPost, "/silent/v1/files", strings.NewReader("x")))
		return err == nil && resp.Status == http.StatusOK
	})
}

// TestBodiesInChunksAreBounded: limits.memory alone bounds Keyturn, whatever length bodies have.
func TestBodiesInChunksAreBounded(t *testing.T) {
	t.Parallel()
	const clients = 24
	gw := gateway.Start(t, gateway.Config{
		Tools: true, Provider: scripted.Config{KeepBytes: 1 << 10}, Top: map[string]any{"limits": map[string]any{"memory": "128MiB"}},
		Pools: []gateway.Pool{{Name: "tools"}},
	})
	gw.Provider.Default(scripted.OK("hello"))
	for range 2 {
		ended := uploads(t.Context(), gw, "/tools/v1/responses", clients)
		for range clients {
			require.Contains(t, []int{http.StatusOK, http.StatusServiceUnavailable}, <-ended)
		}
	}
	took := gateway.PeakMemory(t, gw.ProcessorPID())
	t.Logf("Keyturn took %d MiB", took>>20)
	require.Less(t, took, 1<<30)
	require.Equal(t, http.StatusOK, gw.Do(t, gw.Request(t, http.MethodPost, "/tools/v1/responses", strings.NewReader(`{"model":"m","input":"hi"}`))).Status)
}
