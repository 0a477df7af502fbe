package gateway

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// Metric is the sum of a metric of keyturn's over its series. Of them only those count that have all the labels, each given as
// it is written: `outcome="ok"`. A metric that is not there is an error.
func (gw *Gateway) Metric(t testing.TB, name string, labels ...string) float64 {
	t.Helper()
	sum, found := 0.0, false
lines:
	for line := range strings.Lines(gw.Metrics(t)) {
		series, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok || (series != name && !strings.HasPrefix(series, name+"{")) {
			continue
		}
		for _, l := range labels {
			if !strings.Contains(series, l) {
				continue lines
			}
		}
		n, err := strconv.ParseFloat(value, 64)
		require.NoError(t, err, line)
		sum, found = sum+n, true
	}
	require.True(t, found, "no metric %s %v", name, labels)
	return sum
}

// EnvoyStat is a counter or gauge of Envoy's: "cluster.openai.upstream_rq_active".
func (gw *Gateway) EnvoyStat(t testing.TB, name string) float64 {
	t.Helper()
	for line := range strings.Lines(gw.envoyAdmin(t, "/stats?filter=^"+name+"$")) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), name+": "); ok {
			n, err := strconv.ParseFloat(value, 64)
			require.NoError(t, err, line)
			return n
		}
	}
	require.FailNow(t, "no such stat of Envoy's", name)
	return 0
}

// EnvoyMemory is the number of bytes that Envoy has allocated and not given back.
func (gw *Gateway) EnvoyMemory(t testing.TB) float64 {
	t.Helper()
	var m struct {
		Allocated string `json:"allocated"`
	}
	require.NoError(t, json.Unmarshal([]byte(gw.envoyAdmin(t, "/memory")), &m))
	n, err := strconv.ParseFloat(m.Allocated, 64)
	require.NoError(t, err)
	return n
}

func (gw *Gateway) envoyAdmin(t testing.TB, path string) string {
	t.Helper()
	status, body := AskSocket(t, gw.EnvoyAdminSocket, http.MethodGet, path)
	require.Equal(t, http.StatusOK, status, body)
	return body
}

// AskSocket sends a request to what listens on a socket, and returns the answer.
func AskSocket(t testing.TB, socket, method, path string) (status int, body string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	req, err := http.NewRequestWithContext(t.Context(), method, "http://envoy"+path, nil)
	require.NoError(t, err)
	resp, err := client.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(b)
}

// ResetKeys makes every key of a pool valid again.
func (gw *Gateway) ResetKeys(t testing.TB, pool string) {
	t.Helper()
	for _, k := range gw.Keys(t, pool) {
		gw.Operate(t, pool, k.Name, "reset")
	}
}

// PauseProcessor keeps keyturn from doing anything until the function that it returns is called, or the test ends: a machine
// that is too busy looks so to Envoy.
func (gw *Gateway) PauseProcessor(t testing.TB) (resume func()) {
	t.Helper()
	gw.mu.Lock()
	p := gw.processor
	gw.mu.Unlock()
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGSTOP))
	resume = func() { _ = p.cmd.Process.Signal(syscall.SIGCONT) } // it may have ended, which the others notice
	t.Cleanup(resume)
	return resume
}

// AskProcessorToStop asks keyturn to end and returns at once. The function that it returns waits until keyturn has ended,
// without an error.
func (gw *Gateway) AskProcessorToStop(t testing.TB) (wait func()) {
	t.Helper()
	gw.mu.Lock()
	p := gw.processor
	gw.processor = nil
	gw.mu.Unlock()
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
	return func() {
		t.Helper()
		<-p.done
		require.NoError(t, p.err, "%s", gw.log.String())
	}
}
