package process

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// RunConfig says how Envoy is run. Only Bootstrap is required.
type RunConfig struct {
	Bootstrap []byte   // Envoy's configuration, YAML or JSON; it must name an admin address (port 0 is fine)
	Folder    string   // where the configuration and the admin address are written, created if missing; "" = a temporary one
	Dir       string   // Envoy's working folder, to which paths in the configuration are relative; "" = this process's
	Env       []string // variables for Envoy, NAME=value, beside the few that it gets of this process's

	Concurrency int       // worker threads; 0 = one for each hardware thread
	LogLevel    string    // trace, debug, info, warning, error, critical or off; "" = warning
	LogPath     string    // file that Envoy's log is appended to, mode 0600; "" = none
	Log         io.Writer // gets Envoy's log too; nil = nowhere
	Stdout      io.Writer // gets what Envoy writes to standard output: the access log "stdout"; nil = nowhere
	Secrets     []string  // what is blanked, by its value and in every escaping, in all that Envoy writes to its log and to standard output

	Drain time.Duration // how long open requests may take after Stop; 0 = 10 s, negative = they are cut. Over TCP a rendered admin interface drains nothing.
	Grace time.Duration // from SIGTERM to SIGKILL; 0 = 5 s
}

// The defaults of RunConfig.
const (
	DefaultDrain = 10 * time.Second
	defaultGrace = 5 * time.Second
)

// Process is an Envoy that was started. Its methods may be called from any goroutine.
type Process struct {
	cfg   RunConfig // with the defaults filled in
	files files
	out   *output
	cmd   *exec.Cmd
	api   *adminAPI

	stop     chan struct{} // closed by Stop
	stopOnce sync.Once
	asked    atomic.Bool // the end was asked for: an orderly exit is no error
	killed   atomic.Bool // SIGTERM was not enough

	done chan struct{} // closed when Envoy has ended
	err  error         // written before done is closed
}

// ExitError is an Envoy that ended though nobody asked it to, or not in time.
type ExitError struct {
	Reason string   // "exit status 1", "signal: segmentation fault"
	Log    []string // the last lines of Envoy's log, oldest first
}

// Error says how Envoy ended and repeats its last log lines, where the cause usually is.
func (e *ExitError) Error() string { return "envoy ended: " + e.Reason + quote(e.Log) }

// quote appends log lines to an error's text.
func quote(lines []string) string {
	if len(lines) == 0 {
		return "; it logged nothing"
	}
	return "; its last log lines:\n  " + strings.Join(lines, "\n  ")
}

// Start runs Envoy as a child of this process and does not wait for it to serve: see Ready. Envoy runs until Stop is
// called or ctx ends, which have the same effect, or until it dies. On Linux it is killed when this process ends,
// however that happens. It runs without hot restart, so it shares nothing with other Envoys on the machine.
//
// The configuration is written to Folder with mode 0600, since it may hold the clients' keys. The file goes when Envoy
// has ended as asked and stays for the reader when it has not; a temporary folder always goes.
func (b Binary) Start(ctx context.Context, cfg RunConfig) (*Process, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("start Envoy: %w", err)
	}
	if err := checkBootstrap(cfg.Bootstrap); err != nil {
		return nil, fmt.Errorf("envoy's configuration: %w", err)
	}
	cfg.LogLevel = cmp.Or(cfg.LogLevel, "warning")
	cfg.Drain, cfg.Grace = max(cmp.Or(cfg.Drain, DefaultDrain), 0), cmp.Or(cfg.Grace, defaultGrace)
	out, err := newOutput(cfg)
	if err != nil {
		return nil, fmt.Errorf("envoy's log: %w", err)
	}
	f, err := writeFiles(cfg.Folder, cfg.Bootstrap)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("envoy's run folder: %w", err), out.close())
	}
	p := &Process{
		cfg: cfg, files: f, out: out, cmd: command(b.Path, cfg, f, out), api: newAdminAPI(f.admin, cfg.Dir),
		stop: make(chan struct{}), done: make(chan struct{}),
	}
	started := make(chan error)
	go p.run(started)
	if err := <-started; err != nil {
		<-p.done
		return nil, fmt.Errorf("start Envoy: %w", err)
	}
	go p.end(ctx)
	return p, nil
}

// command is Envoy's command line. The drain takes as long as open requests may, and tells every client at its next
// answer to close the connection.
func command(path string, cfg RunConfig, f files, out *output) *exec.Cmd {
	args := []string{
		"--config-path", f.config,
		"--admin-address-path", f.admin,
		"--disable-hot-restart",
		"--file-flush-interval-msec", "500", // the access log; ten seconds by default
		"--log-level", cfg.LogLevel,
		"--drain-strategy", "immediate",
		"--drain-time-s", strconv.Itoa(max(1, int(cfg.Drain/time.Second))),
	}
	if cfg.Concurrency > 0 {
		args = append(args, "--concurrency", strconv.Itoa(cfg.Concurrency))
	}
	cmd := exec.Command(path, args...)
	cmd.Dir = cfg.Dir
	cmd.Env = append(environment(), cfg.Env...)
	cmd.Stdout, cmd.Stderr = out.stdout, out.err
	cmd.SysProcAttr = childAttr()
	cmd.WaitDelay = time.Second // a grandchild that kept the pipes open does not keep us
	return cmd
}

// environment is what Envoy gets of our environment: what its libraries look at. The rest may hold keys, and a process of the same user can read
// Envoy's.
func environment() []string {
	var found []string
	for _, pair := range os.Environ() {
		name, _, _ := strings.Cut(pair, "=")
		switch {
		case slices.Contains([]string{"HOME", "LANG", "PATH", "TMPDIR", "TZ", "USER"}, name),
			strings.HasPrefix(name, "ENVOY_"), strings.HasPrefix(name, "LC_"), strings.HasPrefix(name, "LD_"), strings.HasPrefix(name, "SSL_CERT_"):
			found = append(found, pair)
		}
	}
	return found
}

// run starts Envoy and waits for its end on one OS thread: Linux kills the child when the thread that started it ends,
// and Go may end a thread that no goroutine holds.
func (p *Process) run(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(p.done)
	err := p.cmd.Start()
	started <- err
	if err == nil {
		_ = p.cmd.Wait() // the state below says it better
		p.err = p.verdict(p.cmd.ProcessState)
	}
	if p.err == nil || p.files.lock != nil {
		p.files.remove()
	}
	_ = p.out.close()
}

// verdict says whether the way in which Envoy ended is an error.
func (p *Process) verdict(s *os.ProcessState) error {
	reason := s.String()
	switch {
	case p.killed.Load():
		reason = fmt.Sprintf("killed, since it was still there %v after SIGTERM", p.cfg.Grace)
	case p.asked.Load() && (s.Success() || byTerm(s)):
		return nil
	case s.Success():
		reason = "exit status 0, stopped by somebody else"
	}
	return &ExitError{Reason: reason, Log: p.out.log.lines()}
}

// byTerm says whether SIGTERM ended the process: it came before Envoy had its handler in place.
func byTerm(s *os.ProcessState) bool {
	status, ok := s.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGTERM
}

// Blank adds to RunConfig.Secrets, for all that Envoy writes from now on. Earlier secrets stay blanked: Envoy may still have them.
func (p *Process) Blank(secrets []string) { p.out.blank(secrets) }

// PID returns Envoy's process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done returns a channel that is closed when Envoy has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait waits for Envoy's end. It returns nil when Envoy ended as asked, else an *ExitError.
func (p *Process) Wait() error {
	<-p.done
	return p.err
}

// Stop ends Envoy, waits for that and returns what Wait returns. Envoy drains first: it answers the open requests and
// has clients close their connections, for at most RunConfig.Drain. Then it gets SIGTERM, and SIGKILL after
// RunConfig.Grace. When ctx ends, Envoy is killed at once. Stop may be called again.
func (p *Process) Stop(ctx context.Context) error {
	p.stopOnce.Do(func() { close(p.stop) })
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		_ = p.cmd.Process.Kill()
		if err := p.Wait(); err != nil {
			return fmt.Errorf("envoy was killed while it drained: %w", ctx.Err())
		}
		return nil
	}
}

// end waits until Envoy is to end and sees to it that it does.
func (p *Process) end(ctx context.Context) {
	select {
	case <-p.done:
		return
	case <-p.stop:
	case <-ctx.Done():
	}
	p.asked.Store(true)
	p.drain(context.WithoutCancel(ctx))
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		_ = p.cmd.Process.Kill() // a system without SIGTERM; one that has ended ignores both
	}
	grace := time.NewTimer(p.cfg.Grace)
	defer grace.Stop()
	select {
	case <-p.done:
	case <-grace.C:
		p.killed.Store(true)
		_ = p.cmd.Process.Kill()
	}
}
