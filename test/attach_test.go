package test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/envoy/process"
	"github.com/keyturn/keyturn/internal/scripted"
	"github.com/keyturn/keyturn/test/gateway"
)

// attached is an Envoy of somebody's that is attached to.
type attached struct {
	file  string      // of envoy/attach/testdata/foreign
	fit   [][2]string // what is another in the test: MAIN, PROVIDER and OTHER are addresses there
	flags []string    // of keyturn attach
	other string      // a path that is for another upstream; "" = none
	ws    string      // a path for WebSockets; "" = none
}

const providerSocket = "address: 127.0.0.1, port_value: PROVIDERPORT"

var attachedOnes = []attached{
	{
		file: "front-proxy.yaml", other: "/service/1/x?y=z",
		fit: [][2]string{
			{"address: 127.0.0.1\n        port_value: 8080", "address: 127.0.0.1\n        port_value: MAINPORT"},
			{"address: 127.0.0.1\n                port_value: 8001", "address: 127.0.0.1\n                port_value: OTHERPORT"},
			{"address: api.openai.com\n                port_value: 443", "address: 127.0.0.1\n                port_value: PROVIDERPORT"},
			{"    transport_socket:\n      name: envoy.transport_sockets.tls\n      typed_config:\n        \"@type\": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext\n        sni: api.openai.com\n", ""},
			{"    socket_address:\n      address: 127.0.0.1\n      port_value: 8001", "    pipe: {path: envoy-admin.sock}"},
		},
	},
	{
		file: "grpc-websocket.yaml", flags: []string{"--yes"}, ws: "/v1/responses",
		fit: [][2]string{
			{"address: {pipe: {path: admin.sock, mode: 384}}", "address: {pipe: {path: envoy-admin.sock}}"},
			{"address: 127.0.0.1, port_value: 10000", "address: 127.0.0.1, port_value: MAINPORT"},
			{"address: 127.0.0.1, port_value: 9300", providerSocket},
		},
	},
	{
		file: "oneline.json",
		fit: [][2]string{
			{`"path": "admin.sock", "mode": 384`, `"path": "envoy-admin.sock"`},
			{`"portValue": 10000`, `"portValue": MAINPORT`},
			{`"portValue": 9300`, `"portValue": PROVIDERPORT`},
		},
	},
}

// TestAttached runs Envoys of others' that keyturn attach has edited: keys turn on their routes, and other routes send and answer what they did
// before, byte for byte.
func TestAttached(t *testing.T) {
	t.Parallel()
	for _, a := range attachedOnes {
		t.Run(a.file, func(t *testing.T) { a.run(t) })
	}
}

func (a attached) run(t *testing.T) {
	other := startRaw(t)
	var original []byte
	gw := gateway.Start(t, gateway.Config{
		Pools:   []gateway.Pool{{Settings: map[string]any{"websocket": true}}},
		Secrets: []string{clientKey},
		Edit: func(rendered []byte) []byte {
			original = a.fitted(t, rendered, other.address)
			return a.edited(t, original)
		},
	})
	gw.Provider.Key("k0-long-key", scripted.RateLimited(time.Minute)).Key("k1-long-key", scripted.Unauthorized()).Key("k2-long-key", good)
	for _, stream := range []string{"false", "true"} {
		resp := gw.Post(t, "/v1/responses", `{"model":"m","stream":`+stream+`}`, "Authorization", "Bearer "+clientKey, "X-Keyturn-Pool", "another", "X-Keyturn-Cluster", "keyturn-processor")
		require.Equal(t, http.StatusOK, resp.Status, resp.Body)
		requireHidden(t, resp.Header)
	}
	require.Equal(t, []string{"k0-long-key", "k1-long-key", "k2-long-key", "k2-long-key"}, gw.Provider.Keys())
	require.Equal(t, []string{"temporary", "permanent", "valid"}, gw.States(t, "openai"))
	trace, err := http.NewRequestWithContext(t.Context(), http.MethodTrace, gw.URL+"/v1/responses", http.NoBody)
	require.NoError(t, err)
	resp := gw.Do(t, trace)
	require.Equal(t, http.StatusMethodNotAllowed, resp.Status, resp.Body)
	if a.ws != "" {
		answer, conn := upgrade(t, gw, a.ws)
		require.Equal(t, http.StatusSwitchingProtocols, answer.Status, answer.Body)
		require.NoError(t, conn.Close())
	}
	if a.other == "" {
		return
	}
	address := strings.TrimPrefix(gw.URL, "http://")
	got, heard := exchange(t, address, a.other), other.last(t)
	<-gw.StopEnvoy(t)
	dir := t.TempDir()
	made, err := process.Find(t.Context(), process.Search{Cache: "../.cache"})
	require.NoError(t, err)
	plain, err := made.Start(t.Context(), process.RunConfig{Bootstrap: original, Folder: dir, Dir: dir, Concurrency: 1, Drain: -1})
	require.NoError(t, err)
	t.Cleanup(func() { _ = plain.Stop(t.Context()) })
	require.NoError(t, plain.Ready(t.Context()))
	require.Equal(t, exchange(t, address, a.other), got, "what the client reads")
	require.Equal(t, other.last(t), heard, "what the upstream reads")
}

// fitted is the configuration with the test's addresses.
func (a attached) fitted(t *testing.T, rendered []byte, other string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "envoy", "attach", "testdata", "foreign", a.file))
	require.NoError(t, err)
	port := func(name string) string {
		i := strings.LastIndex(string(rendered), name)
		require.Positive(t, i, name)
		return regexp.MustCompile(`port_value: (\d+)`).FindStringSubmatch(string(rendered[i:]))[1]
	}
	_, otherPort, err := net.SplitHostPort(other)
	require.NoError(t, err)
	text := string(b)
	for _, r := range a.fit {
		require.Contains(t, text, r[0])
		text = strings.Replace(text, r[0], r[1], 1)
	}
	return []byte(strings.NewReplacer("MAINPORT", port("name: main"), "PROVIDERPORT", port("- name: openai\n"), "OTHERPORT", otherPort).Replace(text))
}

// edited is what keyturn attach makes of a file.
func (a attached) edited(t *testing.T, original []byte) []byte {
	t.Helper()
	file := filepath.Join(t.TempDir(), a.file)
	require.NoError(t, os.WriteFile(file, original, 0o600))
	args := append([]string{"attach", "--envoy", file, "--pool", "openai=openai", "--processor", "unix:extproc.sock", "--write"}, a.flags...)
	out, err := exec.CommandContext(t.Context(), gateway.Keyturn(t), args...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	doc, err := os.ReadFile(file)
	require.NoError(t, err)
	return doc
}

// raw is an upstream that keeps the bytes of requests.
type raw struct {
	address string
	heard   chan string
}

func startRaw(t *testing.T) *raw {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	r := &raw{address: l.Addr().String(), heard: make(chan string, 8)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			r.heard <- readHead(bufio.NewReader(conn))
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\nServer: other\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n")
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return r
}

func (r *raw) last(t *testing.T) string {
	t.Helper()
	select {
	case s := <-r.heard:
		return s
	case <-t.Context().Done():
		return ""
	}
}

// readHead reads up to the empty line.
func readHead(in *bufio.Reader) string {
	var b strings.Builder
	for {
		line, err := in.ReadString('\n')
		b.WriteString(line)
		if err != nil || line == "\r\n" {
			return b.String()
		}
	}
}

// tookHeader is how long an upstream took, which is another each time.
var tookHeader = regexp.MustCompile(`x-envoy-upstream-service-time: \d+`)

// exchange sends a request and returns the bytes of the answer.
func exchange(t *testing.T, address, path string) string {
	t.Helper()
	var d net.Dialer
	conn, err := d.DialContext(t.Context(), "tcp", address)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(time.Minute)))
	_, err = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: somewhere\r\nAuthorization: Bearer %s\r\nX-Request-Id: 0b4c5f0e-0000-4000-8000-000000000000\r\nX-Keyturn-Pool: openai\r\nConnection: close\r\n\r\n", path, clientKey)
	require.NoError(t, err)
	answer, err := io.ReadAll(conn)
	require.NoError(t, err)
	return tookHeader.ReplaceAllString(string(answer), "took")
}
