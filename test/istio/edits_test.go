package istio

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"istio.io/istio/pilot/pkg/config/kube/crd"
	"istio.io/istio/pkg/config/schema/gvk"

	"github.com/keyturn/keyturn/internal/scripted"
)

// drainTime is how long a proxy keeps a listener that was replaced, in Istio.
const drainTime = 45 * time.Second

// TestEdits changes the EnvoyFilter of a proxy that serves. A response under way goes on, its later turns too, and no request fails
// meanwhile, wherever the inner listener is. Only the cluster keyturn-processor is not to be changed so: its streams are cut.
func TestEdits(t *testing.T) {
	socket := egressGateway
	socket.name, socket.inner = "gateway with an inner socket", "inner.sock"
	for _, f := range []form{egressGateway, socket} {
		t.Run(f.name, func(t *testing.T) {
			f.pools, f.drain = few, drainTime
			m := startMesh(t, f)
			for _, e := range []struct{ name, old, new, seen string }{
				{"the route", "num_retries: 17", "num_retries: 19", `"num_retries": 19`},
				{"the inner listener", "message_timeout: 5s", "message_timeout: 6s", `"message_timeout": "6s"`},
				{"the loopback listener", "max_request_headers_kb: 96", "max_request_headers_kb: 97", `"max_request_headers_kb": 97`},
				{"the way to the inner listener", "idle_timeout: 60s", "idle_timeout: 61s", `"idle_timeout": "61s"`},
				{"the mesh's listener", "nothing moved for 20m0s", "nothing moved for five minutes", "nothing moved for five minutes"},
			} {
				t.Run(e.name, func(t *testing.T) { m.editUnder(t, e.old, e.new, e.seen) })
			}
			m.noneRejected(t)
		})
	}
}

// editUnder replaces a text in the EnvoyFilter while a response is under way and others come and go.
func (m *mesh) editUnder(t *testing.T, old, new, seen string) {
	m.reset(t)
	held, release := make(chan struct{}, 1), make(chan struct{})
	goOn := sync.OnceFunc(func() { close(release) })
	defer goOn()
	const asked = `{"model":"m","input":"hold","stream":true}`
	m.provider.Key(poolKeys[0], scripted.Func(func(r scripted.Request) scripted.Answer {
		if !strings.Contains(string(r.Body), `"hold"`) {
			return scripted.RateLimited(0)
		}
		switch len(r.Conversation().Results) {
		case 0:
			return scripted.Say(scripted.Text("look"), echo("one"))
		case 1:
			held <- struct{}{}
			<-release
			return scripted.Say(echo("two"))
		}
		return scripted.Say(scripted.Text("done"))
	})).Key(poolKeys[1], good)
	answer := make(chan response, 1)
	go func() {
		got, err := m.try(t.Context(), few[1].host(), "/v1/responses", asked)
		if err != nil {
			got.body = err.Error()
		}
		answer <- got
	}()
	select {
	case <-held:
	case got := <-answer:
		require.Fail(t, "it did not come to the second turn", got.body)
	}
	failures := make(chan []error, 1)
	go func() { failures <- m.together(t.Context(), 600) }()
	m.edit(t, old, new)
	m.eventually(t, "the proxy has the edit", func() bool { return strings.Contains(m.proxyAdmin(t, "/config_dump"), seen) })
	require.Empty(t, m.together(t.Context(), 200), "after the edit")
	require.Empty(t, <-failures, "during the edit")
	goOn()
	got := <-answer
	require.Equal(t, http.StatusOK, got.status, got.body)
	for _, text := range []string{"look", "done", "event: response.completed"} {
		require.Contains(t, got.body, text)
	}
}

// edit replaces a text in the EnvoyFilter of a mesh that runs.
func (m *mesh) edit(t *testing.T, old, new string) {
	t.Helper()
	require.Contains(t, m.rendered, old)
	m.rendered = strings.ReplaceAll(m.rendered, old, new)
	configs, _, err := crd.ParseInputs(m.rendered)
	require.NoError(t, err)
	for _, c := range configs {
		if c.GroupVersionKind == gvk.EnvoyFilter {
			c.ResourceVersion = m.discovery.Store().Get(gvk.EnvoyFilter, c.Name, c.Namespace).ResourceVersion
			_, err := m.discovery.Store().Update(c)
			require.NoError(t, err)
			return
		}
	}
	require.Fail(t, "no EnvoyFilter")
}

// takenAway deletes the EnvoyFilter. The unrelated host gets then what it got before, and the providers get no credential.
func (m *mesh) takenAway(t *testing.T) {
	m.reset(t)
	ask := func() http.Header {
		got := m.post(t, plainHost, "/v1/responses", "{}", "Authorization", "Bearer "+clientKey)
		require.Equal(t, http.StatusOK, got.status)
		seen := m.plain.take()
		require.Len(t, seen, 1)
		for _, name := range []string{"X-Request-Id", "X-Envoy-Peer-Metadata"} { // another each time; with the client's library
			if seen[0].Get(name) != "" {
				seen[0].Set(name, "some")
			}
		}
		return seen[0]
	}
	with := ask()
	require.NoError(t, m.discovery.Store().Delete(gvk.EnvoyFilter, "keyturn", namespace, nil))
	m.eventually(t, "the proxy has no Keyturn", func() bool { return !strings.Contains(m.proxyAdmin(t, "/config_dump"), `"keyturn-inner"`) })
	require.Equal(t, ask(), with)
	got := m.post(t, pools[1].host(), "/v1/responses", `{"model":"m"}`, "Authorization", "Bearer "+clientKey)
	require.Equal(t, http.StatusUnauthorized, got.status, got.body)
	for _, q := range m.provider.Requests() {
		require.NotContains(t, fmt.Sprint(q.Header), clientKey)
	}
}

// TestSidecarDrains: the sidecar of a pod that ends drains its inbound listeners, so that the app can finish; Keyturn's are none of
// them, and keys turn on.
func TestSidecarDrains(t *testing.T) {
	f := egressListener
	f.pools = few
	m := startMesh(t, f)
	m.do(t, http.MethodPost, "http://"+m.envoy.Admin()+"/drain_listeners?inboundonly", "")
	m.failsOver(t)
	m.provider.Key(poolKeys[1], afterTools(1, "done"))
	got := m.post(t, few[1].host(), "/v1/responses", `{"model":"m","input":"hi"}`)
	require.Equal(t, http.StatusOK, got.status, got.body)
	require.Contains(t, got.body, "done")
}
