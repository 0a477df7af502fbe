package test

import (
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/scripted"
	"github.com/keyturn/keyturn/test/gateway"
)

// maxAdded is how many lines an Envoy of one's own needs.
const maxAdded = 60

// byHand is docs/envoy.yaml for a gateway of the tests: its addresses, and its provider without TLS.
func byHand(t *testing.T, rendered []byte) []byte {
	t.Helper()
	b, err := os.ReadFile("../docs/envoy.yaml")
	require.NoError(t, err)
	ports := regexp.MustCompile(`port_value: (\d+)`)
	port := func(name string) string {
		i := strings.LastIndex(string(rendered), name)
		require.Positive(t, i, name)
		return ports.FindStringSubmatch(string(rendered[i:]))[1]
	}
	text := string(b)
	for _, r := range [][2]string{
		{"port_value: 10000", "port_value: " + port("name: main")},
		{"socket_address: {address: 127.0.0.1, port_value: 9901}", "pipe: {path: envoy-admin.sock}"},
		{"address: api.openai.com, port_value: 443", "address: 127.0.0.1, port_value: " + port("- name: openai\n")},
		{"path: run/extproc.sock", "path: extproc.sock"},
		{"envoy.access_loggers.stdout\n", "envoy.access_loggers.file\n"},
		{"stream.v3.StdoutAccessLog,", "file.v3.FileAccessLog, path: access.log,"},
	} {
		require.Contains(t, text, r[0])
		text = strings.Replace(text, r[0], r[1], 1)
	}
	before, _, ok := strings.Cut(text, "    transport_socket:\n")
	require.True(t, ok)
	_, after, ok := strings.Cut(text, "  - name: keyturn-inner #+\n    circuit_breakers")
	require.True(t, ok)
	return []byte(before + "  - name: keyturn-inner #+\n    circuit_breakers" + after)
}

// TestEnvoyByHand runs the Envoy of docs/envoy.md, the very file, and holds what the page says of it.
func TestEnvoyByHand(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("../docs/envoy.yaml")
	require.NoError(t, err)
	added := 0
	for line := range strings.Lines(string(b)) {
		if strings.Contains(line, " #+") && !strings.HasPrefix(line, "#") {
			added++
		}
	}
	require.LessOrEqual(t, added, maxAdded)
	page, err := os.ReadFile("../docs/envoy.md")
	require.NoError(t, err)
	require.Contains(t, string(page), "are all that Keyturn adds: 60,")
	require.Equal(t, 60, added)

	keys := []string{"k0-long-key", "k1-long-key", "k2-long-key"}
	gw := gateway.Start(t, gateway.Config{
		Pools:   []gateway.Pool{{Keys: keys, Groups: []string{"org", "org", "org"}, Settings: map[string]any{"websocket": true}}},
		Edit:    func(rendered []byte) []byte { return byHand(t, rendered) },
		Secrets: []string{clientKey},
	})
	fails := func(answers ...scripted.Script) {
		gw.Reset(t)
		for i, key := range keys {
			gw.Provider.Key(key, good)
			if i < len(answers) {
				gw.Provider.Key(key, answers[i])
			}
		}
	}
	for _, path := range []string{"/v1/responses", "/v1/chat/completions", "/v1/messages", "/v1/files"} {
		for _, stream := range []string{"false", "true"} {
			fails(scripted.RateLimited(time.Minute), scripted.Unauthorized())
			resp := gw.Post(t, path, `{"model":"m","messages":[],"max_tokens":1,"stream":`+stream+`}`, "Authorization", "Bearer "+clientKey,
				"X-Keyturn-Pool", "another", "X-Keyturn-Id", "forged", "X-Keyturn-Cluster", "keyturn-processor", "X-Keyturn-Turn", "7")
			require.Equal(t, http.StatusOK, resp.Status, resp.Body)
			require.Equal(t, keys, gw.Provider.Keys())
			requireHidden(t, resp.Header)
			for _, q := range gw.Provider.Requests() {
				for name := range q.Header {
					require.NotRegexp(t, "^X-(Keyturn|Envoy|Forwarded|Request)-", name)
				}
			}
			require.Equal(t, []string{"temporary", "permanent", "valid"}, gw.States(t, "openai"))
		}
	}
	fails(scripted.RateLimited(3*time.Second), scripted.RateLimited(time.Minute), scripted.RateLimited(time.Minute))
	resp := gw.Post(t, "/v1/responses", `{}`)
	require.Equal(t, http.StatusTooManyRequests, resp.Status)
	require.Equal(t, "3", resp.Header.Get("Retry-After"))

	fails(scripted.Unauthorized())
	resp, conn := upgrade(t, gw, "/v1/responses")
	require.Equal(t, http.StatusSwitchingProtocols, resp.Status, resp.Body)
	require.NoError(t, conn.Close())
	require.Equal(t, http.StatusNotFound, gw.Get(t, "/elsewhere").Status, "other routes are what they were")

	out, err := exec.CommandContext(t.Context(), gateway.Keyturn(t), "check", "-c", gw.ConfigFile(), "--envoy-admin", "unix:"+gw.EnvoyAdminSocket, "--json").Output()
	var exit *exec.ExitError
	if err != nil {
		require.ErrorAs(t, err, &exit)
	}
	require.Contains(t, string(out), `"envoy": []`, "nothing is missing")
}
