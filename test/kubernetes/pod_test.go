package kubernetes

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/keyturn/keyturn/internal/kube"
)

// podRun is the rendered pod's container, run from the image's root with the pod's volumes, laid out as a kubelet does.
type podRun struct {
	root      string
	at        map[string]string // where the volumes are
	container container
	group     int
	admin     string // the endpoint's URL
	log       *buffer
	cmd       *exec.Cmd
}

// proxy is the user of Istio's proxy.
const proxy = 1337

// newPod lays out the pod of a rendered Deployment.
func newPod(t *testing.T, secrets map[string]string) *podRun {
	t.Helper()
	port := freePort(t)
	s := scenarios(t)["gateway"]
	s.src.AdminPort = port
	stream, err := kube.Render(s.src, s.Settings)
	require.NoError(t, err)
	docs := decode(t, stream)
	d := find[*appsv1.Deployment](t, docs)
	c := keyturn(t, d)
	pod := d.Spec.Template.Spec
	p := &podRun{
		root: imageRoot(t), at: mounts(c), group: int(*pod.SecurityContext.FSGroup),
		admin: fmt.Sprintf("http://127.0.0.1:%d", port), log: &buffer{},
	}
	p.container = container{
		root: p.root, writable: []string{p.at["keyturn-sockets"]},
		uid: int(*c.SecurityContext.RunAsUser), gid: int(*c.SecurityContext.RunAsGroup), groups: []int{p.group},
	}
	config := map[string]string{}
	for _, doc := range docs {
		if m, ok := doc.Object.(*corev1.ConfigMap); ok {
			config = m.Data
		}
	}
	p.volume(t, p.at["keyturn-config"], 0o644, config, "1")
	p.volume(t, p.at["keyturn-secrets"], os.FileMode(*volume(pod, "keyturn-secrets").Projected.DefaultMode)|0o440, secrets, "1")
	// An emptyDir with an fsGroup: the group's, setgid.
	sockets := filepath.Join(p.root, p.at["keyturn-sockets"])
	require.NoError(t, os.MkdirAll(sockets, 0o755))
	require.NoError(t, os.Chown(sockets, 0, p.group))
	require.NoError(t, os.Chmod(sockets, 0o777|os.ModeSetgid))
	p.cmd = p.container.command(t, c.Args...)
	p.cmd.Stderr = p.log
	return p
}

func volume(pod corev1.PodSpec, name string) corev1.Volume {
	for _, v := range pod.Volumes {
		if v.Name == name {
			return v
		}
	}
	return corev1.Volume{}
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// volume writes files as the kubelet does for a ConfigMap or Secret: in a folder of their own, to which ..data leads, by links. Their
// group is the pod's. Another version replaces ..data in one step.
func (p *podRun) volume(t *testing.T, at string, mode os.FileMode, files map[string]string, version string) {
	t.Helper()
	dir := filepath.Join(p.root, at)
	require.NoError(t, os.MkdirAll(dir, 0o755))
	for name, data := range files {
		file := filepath.Join(dir, "..v"+version, name)
		write(t, file, data)
		require.NoError(t, os.Chown(file, 0, p.group))
		require.NoError(t, os.Chmod(file, mode))
		link := filepath.Join(dir, name)
		if _, err := os.Lstat(link); err != nil {
			require.NoError(t, os.Symlink(filepath.Join("..data", name), link))
		}
	}
	next := filepath.Join(dir, "..data_tmp")
	require.NoError(t, os.Symlink("..v"+version, next))
	require.NoError(t, os.Rename(next, filepath.Join(dir, "..data")))
}

// get asks the admin endpoint; a connection that is refused is status 0.
func (p *podRun) get(path, token string) (int, string) {
	req, err := http.NewRequest(http.MethodGet, p.admin+path, nil)
	if err != nil {
		return 0, err.Error()
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(b)
}

// dial connects to a socket of the pod as a container with another user.
func (p *podRun) dial(t *testing.T, uid int, groups []int, socket string) error {
	t.Helper()
	out, err := container{root: p.root, uid: uid, gid: uid, groups: groups}.exec(t, dial, socket).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

const (
	patience = 30 * time.Second
	between  = 50 * time.Millisecond
)

func TestPodRuns(t *testing.T) {
	const token, first, second = "token-of-the-endpoint", "sk-first-0000000000000001", "sk-second-000000000000002"
	p := newPod(t, map[string]string{"OPENAI_KEY": first + "\n", "admin-token": token + "\n"})
	require.NoError(t, p.cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- p.cmd.Wait() }()

	// The startup and liveness probes.
	require.Eventually(t, func() bool { code, _ := p.get("/healthz", ""); return code == http.StatusOK }, patience, between, "%s", p.log)
	code, _ := p.get("/readyz", "")
	require.Equal(t, http.StatusOK, code)

	// Prometheus, with the token and without.
	code, _ = p.get("/metrics", "")
	require.Equal(t, http.StatusUnauthorized, code)
	code, body := p.get("/metrics", token)
	require.Equal(t, http.StatusOK, code)
	require.Contains(t, body, "keyturn_build_info")

	// The socket belongs to the group, by the folder's setgid bit, and the proxy reaches it by that alone.
	socket := filepath.Join(p.at["keyturn-sockets"], "extproc.sock")
	info, err := os.Lstat(filepath.Join(p.root, socket))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o660), info.Mode().Perm())
	stat := info.Sys().(*syscall.Stat_t)
	require.Equal(t, fmt.Sprint(p.container.uid, p.group), fmt.Sprint(stat.Uid, stat.Gid))
	require.NoError(t, p.dial(t, proxy, []int{p.group}, socket))
	require.ErrorContains(t, p.dial(t, proxy, nil, socket), "permission denied")

	// A key that changes in its Secret is in use without a restart.
	id := func() string {
		var view struct {
			Pools []struct{ Keys []struct{ ID string } }
		}
		_, body := p.get("/api/v1/pools", token)
		if json.Unmarshal([]byte(body), &view) != nil || len(view.Pools) != 1 || len(view.Pools[0].Keys) != 1 {
			return ""
		}
		return view.Pools[0].Keys[0].ID
	}
	before := id()
	require.NotEmpty(t, before)
	p.volume(t, p.at["keyturn-secrets"], 0o440, map[string]string{"OPENAI_KEY": second, "admin-token": token}, "2")
	require.Eventually(t, func() bool { now := id(); return now != "" && now != before }, patience, between, "%s", p.log)

	require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
	select {
	case err := <-ended:
		require.NoError(t, err, "%s", p.log)
	case <-t.Context().Done():
		require.Fail(t, "it did not end")
	}
	for _, secret := range []string{token, first, second} {
		require.NotContains(t, p.log.String(), secret)
	}
	require.NotContains(t, p.log.String(), "configuration refused")
}

// TestPodWithoutKeys: as long as the Secrets are empty, the log says which file is missing.
func TestPodWithoutKeys(t *testing.T) {
	p := newPod(t, map[string]string{"admin-token": "token-of-the-endpoint"})
	err := p.cmd.Run()
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit, "%s", p.log)
	require.Equal(t, 1, exit.ExitCode(), "%s", p.log)
	require.Contains(t, p.log.String(), "/run/secrets/keyturn/OPENAI_KEY does not exist; create it, or name another")
	require.Equal(t, 1, strings.Count(p.log.String(), "does not exist"))
}

// buffer is written by a process and read by a test.
type buffer struct {
	mu sync.Mutex // protects b
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
