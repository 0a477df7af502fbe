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
	p := &processor{cmd: exec.Command(gw.made.keyturn, "serve", "-c", gw.ConfigFile()), done: make(chan struct{})}
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
