package gateway

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Response is an answer, read to its end.
type Response struct {
	Status int
	Header http.Header
	Body   string
}

// Post sends body as JSON to path. Headers are pairs of name and value.
func (gw *Gateway) Post(t testing.TB, path, body string, headers ...string) Response {
	t.Helper()
	return gw.Do(t, gw.Request(t, http.MethodPost, path, strings.NewReader(body), headers...))
}

// PostProvider sends body to the scripted provider itself, past the gateway.
func (gw *Gateway) PostProvider(t testing.TB, path, body string, headers ...string) Response {
	t.Helper()
	req := gw.Request(t, http.MethodPost, "", strings.NewReader(body), headers...)
	u, err := url.Parse(gw.ProviderURL + path)
	require.NoError(t, err)
	req.URL, req.Host = u, u.Host
	return gw.Do(t, req)
}

// Get asks for path.
func (gw *Gateway) Get(t testing.TB, path string, headers ...string) Response {
	t.Helper()
	return gw.Do(t, gw.Request(t, http.MethodGet, path, nil, headers...))
}

// Request makes a request to the gateway, which ends with the test.
func (gw *Gateway) Request(t testing.TB, method, path string, body io.Reader, headers ...string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, gw.URL+path, body)
	require.NoError(t, err)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	return req
}

// Do sends a request and reads the answer to its end.
func (gw *Gateway) Do(t testing.TB, req *http.Request) Response {
	t.Helper()
	resp, err := gw.TryDo(req)
	require.NoError(t, err)
	return resp
}

// TryDo is Do for requests that may fail, and for goroutines other than the test's.
func (gw *Gateway) TryDo(req *http.Request) (Response, error) {
	resp, err := gw.Client.Do(req)
	if err != nil {
		return Response{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return Response{Status: resp.StatusCode, Header: resp.Header, Body: string(b)}, err
}

// Key is a key as the admin endpoint shows it.
type Key struct {
	Name, Hint, State, Reason string
	Until                     time.Time
	ReviveAt                  time.Time `json:"revive_at"`
	Probation                 bool
	Models                    []struct{ Model string } // that the key is left out for
}

// Keys are a pool's keys, in order.
func (gw *Gateway) Keys(t testing.TB, pool string) []Key {
	t.Helper()
	var p struct{ Keys []Key }
	gw.admin(t, http.MethodGet, "/api/v1/pools/"+pool, &p)
	return p.Keys
}

// States are the states of a pool's keys, in order.
func (gw *Gateway) States(t testing.TB, pool string) []string {
	t.Helper()
	states := []string{}
	for _, k := range gw.Keys(t, pool) {
		states = append(states, k.State)
	}
	return states
}

// Operate disables, enables or resets a key.
func (gw *Gateway) Operate(t testing.TB, pool, key, action string) {
	t.Helper()
	gw.admin(t, http.MethodPost, "/api/v1/pools/"+pool+"/keys/"+key+"/"+action, nil)
}

// Reset makes every key of every pool valid again and lets the provider forget what it saw. The provider's script stays.
func (gw *Gateway) Reset(t testing.TB) {
	t.Helper()
	var all struct {
		Pools []struct {
			Name string
			Keys []Key
		}
	}
	gw.admin(t, http.MethodGet, "/api/v1/pools", &all)
	for _, p := range all.Pools {
		for _, k := range p.Keys {
			if k.State == "disabled" {
				gw.Operate(t, p.Name, k.Name, "enable")
			}
			if k.State != "valid" || k.Probation || len(k.Models) > 0 {
				gw.Operate(t, p.Name, k.Name, "reset")
			}
		}
	}
	gw.Provider.Reset()
}

// Metrics is the text of keyturn's metrics.
func (gw *Gateway) Metrics(t testing.TB) string {
	t.Helper()
	return gw.admin(t, http.MethodGet, "/metrics", nil)
}

// Admin asks keyturn's admin endpoint, whatever it answers. No secret may stand in the answer.
func (gw *Gateway) Admin(t testing.TB, method, path string) Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, gw.AdminURL+path, nil)
	require.NoError(t, err)
	resp := gw.Do(t, req)
	gw.noSecret(t, path, resp.Body)
	return resp
}

// EnvoyAdmin asks Envoy's admin interface. No secret may stand in the answer.
func (gw *Gateway) EnvoyAdmin(t testing.TB, path string) string {
	t.Helper()
	body := gw.envoyAdmin(t, path)
	gw.noSecret(t, "Envoy's "+path, body)
	return body
}

// admin asks keyturn's admin endpoint and reads the JSON of a good answer into v, unless that is nil.
func (gw *Gateway) admin(t testing.TB, method, path string, v any) string {
	t.Helper()
	resp := gw.Admin(t, method, path)
	require.Equal(t, http.StatusOK, resp.Status, resp.Body)
	if v != nil {
		require.NoError(t, json.Unmarshal([]byte(resp.Body), v))
	}
	return resp.Body
}

func (gw *Gateway) noSecret(t testing.TB, where, text string) {
	t.Helper()
	for _, s := range gw.secrets {
		if strings.Contains(text, s) {
			require.FailNow(t, "a secret is shown", "by %s", where)
		}
	}
}

// AccessLog waits until Envoy has logged n requests of clients and returns them, the values by field. Envoy writes a line when a
// request has ended and the file a little later.
func (gw *Gateway) AccessLog(t testing.TB, n int) []map[string]any {
	t.Helper()
	return gw.Logged(t, "request", n)
}

// Logged is AccessLog for the lines of one kind: "request", "turn" of Keyturn's own requests, "attempt" of what the inner listener
// got.
func (gw *Gateway) Logged(t testing.TB, kind string, n int) []map[string]any {
	t.Helper()
	var lines []map[string]any
	gw.Eventually(t, "the access log", func() bool {
		b, _ := os.ReadFile(filepath.Join(gw.Dir, "access.log"))
		lines = nil
		for line := range strings.Lines(string(b)) {
			if !strings.HasSuffix(line, "\n") {
				break // being written
			}
			var fields map[string]any
			require.NoError(t, json.Unmarshal([]byte(line), &fields), line)
			if fields["log"] == kind {
				lines = append(lines, fields)
			}
		}
		return len(lines) >= n
	})
	return lines
}
