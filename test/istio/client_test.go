package istio

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// response is an answer, read to its end.
type response struct {
	status int
	header http.Header
	body   string
}

// do sends a request and reads the answer to its end.
func (m *mesh) do(t *testing.T, method, url, body string, headers ...string) response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	client := m.client
	if strings.HasPrefix(url, "http://127.0.0.1:") {
		client = http.DefaultClient // an admin endpoint
	}
	resp, err := client.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err, "%d %s", resp.StatusCode, b)
	return response{resp.StatusCode, resp.Header, string(b)}
}

// post sends a request to a host of the mesh, as an application does: without TLS, with a credential of its own.
func (m *mesh) post(t *testing.T, host, path, body string, headers ...string) response {
	t.Helper()
	return m.do(t, http.MethodPost, "http://"+host+path, body, headers...)
}

// admin asks keyturn's admin endpoint and reads the JSON of the answer into v, unless that is nil.
func (m *mesh) admin(t *testing.T, method, path string, v any) string {
	t.Helper()
	resp := m.do(t, method, "http://"+keyturnAdmin+path, "")
	require.Equal(t, http.StatusOK, resp.status, resp.body)
	if v != nil {
		require.NoError(t, json.Unmarshal([]byte(resp.body), v))
	}
	return resp.body
}

// key is a key as the admin endpoint shows it.
type key struct {
	Name, State string
	Probation   bool
	Models      []any
}

// states are the states of a pool's keys, in order.
func (m *mesh) states(t *testing.T, pool string) []string {
	t.Helper()
	var p struct{ Keys []key }
	m.admin(t, http.MethodGet, "/api/v1/pools/"+pool, &p)
	states := []string{}
	for _, k := range p.Keys {
		states = append(states, k.State)
	}
	return states
}

// reset makes every key valid again and lets the provider forget what it saw.
func (m *mesh) reset(t *testing.T) {
	t.Helper()
	var all struct {
		Pools []struct {
			Name string
			Keys []key
		}
	}
	m.admin(t, http.MethodGet, "/api/v1/pools", &all)
	for _, p := range all.Pools {
		for _, k := range p.Keys {
			if k.State != "valid" || k.Probation || len(k.Models) > 0 {
				m.admin(t, http.MethodPost, "/api/v1/pools/"+p.Name+"/keys/"+k.Name+"/reset", nil)
			}
		}
	}
	m.provider.Reset()
	m.plain.take()
}

// streams is how many attempts Keyturn has seen: each is one stream that the proxy opens to it.
func (m *mesh) streams(t *testing.T) int {
	t.Helper()
	return m.stat(t, `http\..*\.ext_proc\.(.*\.)?streams_started`)
}

// The proxy's names for Keyturn, and for the listener that every attempt goes through.
const (
	processorCluster = "keyturn-processor"
	innerCluster     = "keyturn-inner"
)

// stat is the sum of the proxy's counters and gauges whose names are an expression; 0 when there are none.
func (m *mesh) stat(t *testing.T, expression string) (sum int) {
	t.Helper()
	for line := range strings.Lines(m.proxyAdmin(t, "/stats?filter="+url.QueryEscape("^"+expression+"$"))) {
		_, value, ok := strings.Cut(strings.TrimSpace(line), ": ")
		require.True(t, ok, line)
		n, err := strconv.Atoi(value)
		require.NoError(t, err, line)
		sum += n
	}
	return sum
}

func (m *mesh) proxyAdmin(t *testing.T, path string) string {
	t.Helper()
	resp := m.do(t, http.MethodGet, "http://"+m.envoy.Admin()+path, "")
	require.Equal(t, http.StatusOK, resp.status, resp.body)
	return resp.body
}

// noneRejected checks that the proxy took all that the control plane gave it.
func (m *mesh) noneRejected(t *testing.T) {
	t.Helper()
	n := 0
	for line := range strings.Lines(m.proxyAdmin(t, "/stats?filter=update_rejected")) {
		n++
		require.Regexp(t, ": 0\n$", line)
	}
	require.GreaterOrEqual(t, n, 2, "of clusters and of listeners")
}

// accessLog waits until the proxy has logged n requests of clients to pools and returns them, the values by field.
func (m *mesh) accessLog(t *testing.T, n int) []map[string]any {
	t.Helper()
	var lines []map[string]any
	m.eventually(t, "the access log", func() bool {
		b, _ := os.ReadFile(accessLogFile())
		lines = nil
		for line := range strings.Lines(string(b)) {
			if !strings.HasSuffix(line, "\n") {
				break // being written
			}
			var fields map[string]any
			require.NoError(t, json.Unmarshal([]byte(line), &fields), line)
			lines = append(lines, fields)
		}
		return len(lines) >= n
	})
	return lines
}
