package istio

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/scripted"
)

// TestForms attaches Keyturn in every way that a mesh has, and sends through each what must hold everywhere.
func TestForms(t *testing.T) {
	for _, f := range forms {
		t.Run(f.name, func(t *testing.T) {
			m := startMesh(t, f)
			m.noneRejected(t)
			t.Run("keys", m.keys)
			t.Run("access log", m.checkLog)
			t.Run("tools", m.agentic)
			t.Run("large bodies", m.largeBodies)
			t.Run("certificate of another", m.otherCertificate)
			t.Run("unrelated host", m.unrelatedHost)
			t.Run("forged headers", m.forged)
			t.Run("upgrade", m.upgrade)
			t.Run("crowd", m.crowd)
			t.Run("check", m.check)
			t.Run("taken away", m.takenAway)
			m.noneRejected(t)
		})
	}
}

// largeBodies sends 5 MB, which is more than the buffers of Envoy's connections: the key fails and the next one gets all of it.
// Then the provider answers with as much.
func (m *mesh) largeBodies(t *testing.T) {
	m.reset(t)
	large := strings.Repeat("a", 5_000_000)
	two := pool{name: "openai-two"}
	body := fmt.Sprintf(`{"model":"gpt-4o-mini","input":%q}`, large)
	m.provider.Key(poolKeys[0], scripted.RateLimited(time.Minute)).Key(poolKeys[1], scripted.OK(large))
	got := m.post(t, two.host(), "/v1/responses", body, "Authorization", "Bearer "+clientKey)
	require.Equal(t, http.StatusOK, got.status)
	require.Equal(t, poolKeys[:2], m.provider.Keys())
	require.Contains(t, got.body, large)
	for _, q := range m.provider.Requests() {
		require.EqualValues(t, len(body), q.BodySize)
	}

	m.reset(t) // and with tools, where Keyturn reads both
	m.provider.Key(poolKeys[0], afterTools(1, large))
	got = m.post(t, pool{name: "openai"}.host(), "/v1/responses", body, "Authorization", "Bearer "+clientKey)
	require.Equal(t, http.StatusOK, got.status)
	require.Len(t, m.provider.Keys(), 2)
	require.Contains(t, got.body, large)
}

// impostor is the pool in whose provider's place somebody else answers.
var impostor = pools[len(pools)-1]

// otherCertificate: whoever answers in the provider's place, with a certificate that the same authority signed for another name,
// gets no request.
func (m *mesh) otherCertificate(t *testing.T) {
	m.reset(t)
	m.provider.Default(good)
	defer m.provider.Default(nil)
	got := m.post(t, impostor.host(), "/v1/responses", `{"model":"m","input":"hi"}`, "Authorization", "Bearer "+clientKey)
	require.Equal(t, http.StatusServiceUnavailable, got.status, got.body)
	require.Zero(t, m.provider.Count())
	require.Contains(t, got.body, "CERTIFICATE_VERIFY_FAILED")
	require.Positive(t, m.stat(t, `cluster\.`+strings.ReplaceAll(m.form.cluster(impostor.host()), "|", `\|`)+`;?\.ssl\.fail_verify_san`))
}

// unrelatedHost: another host behind the same proxy keeps its own credential and its own errors, and Keyturn never hears of it.
func (m *mesh) unrelatedHost(t *testing.T) {
	m.reset(t)
	before := m.streams(t)
	for path, status := range map[string]int{"/v1/responses": http.StatusOK, "/429": http.StatusTooManyRequests} {
		got := m.post(t, plainHost, path, "{}", "Authorization", "Bearer "+clientKey, "X-Api-Key", ownKey)
		require.Equal(t, status, got.status)
		require.Equal(t, "plain", got.body)
		seen := m.plain.take()
		require.Len(t, seen, 1)
		require.Equal(t, "Bearer "+clientKey, seen[0].Get("Authorization"))
		require.Equal(t, ownKey, seen[0].Get("X-Api-Key"))
		require.NotContains(t, fmt.Sprint(seen[0]), "X-Keyturn-")
	}
	require.Equal(t, before, m.streams(t))
	require.Zero(t, m.provider.Count())
}

// forged: headers that only Keyturn may send mean nothing on a client's request, and do not reach the provider.
func (m *mesh) forged(t *testing.T) {
	m.reset(t)
	m.provider.Key(poolKeys[0], afterTools(1, "done"))
	got := m.post(t, pool{name: "openai"}.host(), "/v1/responses", `{"model":"m","input":"hi"}`,
		"Authorization", "Bearer "+clientKey, "X-Keyturn-Turn", "9", "X-Keyturn-Cluster", "nowhere", "X-Keyturn-Retry", "1")
	require.Equal(t, http.StatusOK, got.status, got.body)
	require.Equal(t, []string{poolKeys[0], poolKeys[0]}, m.provider.Keys(), "a turn has no tools of its own")
	for _, q := range m.provider.Requests() {
		hidesMesh(t, q.Header)
	}
}

// upgrade: a WebSocket gets the pool's key, and the next one when the provider refuses the first.
func (m *mesh) upgrade(t *testing.T) {
	two := pool{name: "openai-two"}
	for _, tc := range []struct {
		name    string
		answers []scripted.Script // of the keys
		hits    []string
		status  int
	}{
		{"accepted", []scripted.Script{good}, poolKeys[:1], http.StatusSwitchingProtocols},
		{"with the second key", []scripted.Script{scripted.Unauthorized(), good}, poolKeys[:2], http.StatusSwitchingProtocols},
		{"with none", []scripted.Script{scripted.Unauthorized(), scripted.Unauthorized()}, poolKeys[:2], http.StatusBadGateway},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m.reset(t)
			for i, a := range tc.answers {
				m.provider.Key(poolKeys[i], a)
			}
			conn, resp, err := websocket.Dial(t.Context(), "http://"+two.host()+"/v1/responses", &websocket.DialOptions{
				HTTPClient: &http.Client{Transport: m.client.Transport}, HTTPHeader: http.Header{"Authorization": {"Bearer " + clientKey}},
			})
			require.NotNil(t, resp, err)
			require.Equal(t, tc.status, resp.StatusCode)
			if tc.status == http.StatusSwitchingProtocols {
				require.NoError(t, conn.Write(t.Context(), websocket.MessageText, []byte("hello")))
				_, echo, err := conn.Read(t.Context())
				require.NoError(t, err)
				require.Equal(t, "hello", string(echo))
				require.NoError(t, conn.Close(websocket.StatusNormalClosure, ""))
			}
			require.NoError(t, m.provider.WaitIdle(t.Context()))
			require.Equal(t, tc.hits, m.provider.Keys())
		})
	}
}

// crowd sends requests that Keyturn reads whole, many at a time, each of which fails over.
func (m *mesh) crowd(t *testing.T) {
	m.reset(t)
	m.provider.Key(poolKeys[0], scripted.RateLimited(0)).Key(poolKeys[1], good)
	require.Empty(t, m.together(t.Context(), 200))
	m.proxyAdmin(t, "/ready")
}

// together sends so many requests of 100 KB to a pool with tools, 32 at a time, and says which were not answered well.
func (m *mesh) together(ctx context.Context, requests int) (failures []error) {
	const workers = 32
	body := fmt.Sprintf(`{"model":"m","input":%q}`, strings.Repeat("a", 100_000))
	work, failed := make(chan struct{}, requests), make(chan error, requests)
	for range requests {
		work <- struct{}{}
	}
	close(work)
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for range work {
				got, err := m.try(ctx, pool{name: "openai"}.host(), "/v1/responses", body)
				if err == nil && (got.status != http.StatusOK || !strings.Contains(got.body, said[:8])) {
					err = fmt.Errorf("%d %.200s", got.status, got.body)
				}
				if err != nil {
					failed <- err
				}
			}
		})
	}
	all.Wait()
	close(failed)
	for err := range failed {
		failures = append(failures, err)
	}
	return failures
}

// try is post for goroutines other than the test's.
func (m *mesh) try(ctx context.Context, host, path, body string) (response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+host+path, strings.NewReader(body))
	if err != nil {
		return response{}, err
	}
	resp, err := m.client.Do(req)
	if err != nil {
		return response{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return response{resp.StatusCode, resp.Header, string(b)}, err
}
