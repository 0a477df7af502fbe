package gateway

import (
	"errors"
	"net/http"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// StartProcessor starts keyturn serve and returns when it serves. The gateway starts one by itself; a test that has killed it
// starts the next.
func (gw *Gateway) StartProcessor(t testing.TB) {
	t.Helper()
	gw.start(t, exec.Command(gw.made.keyturn, "serve", "-c", gw.ConfigFile()))
}

// TakeOver starts another keyturn that takes the place of the one that serves, and waits until that has ended by itself.
func (gw *Gateway) TakeOver(t testing.TB) {
	t.Helper()
	gw.mu.Lock()
	had := gw.processor
	gw.mu.Unlock()
	gw.start(t, exec.Command(gw.made.keyturn, "serve", "-c", gw.ConfigFile(), "--take-over"))
	gw.Eventually(t, "the process whose place was taken ends", func() bool {
		select {
		case <-had.done:
			return true
		default:
			return false
		}
	})
	require.NoError(t, had.err, "%s", gw.log.String())
}

// StartProcessorWith starts keyturn as a service manager does that holds its socket.
func (gw *Gateway) StartProcessorWith(t testing.TB, l *os.File) {
	t.Helper()
	cmd := exec.Command("sh", "-c", `LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" serve -c "$1"`, gw.made.keyturn, gw.ConfigFile())
	cmd.ExtraFiles = []*os.File{l}
	gw.start(t, cmd)
}

// start starts keyturn serve and waits until it serves.
func (gw *Gateway) start(t testing.TB, cmd *exec.Cmd) {
	t.Helper()
	p := &processor{cmd: cmd, done: make(chan struct{})}
	p.cmd.Stderr = gw.log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(t, p.cmd.Start())
	go func() {
		defer close(p.done)
		p.err = p.cmd.Wait()
	}()
	gw.mu.Lock()
	gw.processor = p
	gw.mu.Unlock()
	gw.Eventually(t, "keyturn serves", func() bool {
		select {
		case <-p.done:
			require.FailNow(t, "keyturn ended", "%v\n%s", p.err, gw.log.String())
		default:
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, gw.AdminURL+"/healthz", nil)
		require.NoError(t, err)
		resp, err := gw.Client.Do(req)
		if err != nil {
			return false
		}
		return resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
	})
}

// Hangup sends keyturn a SIGHUP: read the configuration again.
func (gw *Gateway) Hangup(t testing.TB) {
	t.Helper()
	gw.mu.Lock()
	defer gw.mu.Unlock()
	require.NoError(t, gw.processor.cmd.Process.Signal(syscall.SIGHUP))
}

// KillProcessor ends keyturn as the kernel would, without a word.
func (gw *Gateway) KillProcessor(t testing.TB) {
	t.Helper()
	gw.mu.Lock()
	p := gw.processor
	gw.processor = nil
	gw.mu.Unlock()
	require.NoError(t, p.cmd.Process.Kill())
	<-p.done
}

// StopProcessor asks keyturn to end and waits until it has, without an error.
func (gw *Gateway) StopProcessor(t testing.TB) {
	t.Helper()
	gw.mu.Lock()
	p := gw.processor
	gw.processor = nil
	gw.mu.Unlock()
	require.NoError(t, p.stop(), "%s", gw.log.String())
}

func (p *processor) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-p.done
	return p.err
}
