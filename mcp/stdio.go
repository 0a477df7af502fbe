package mcp

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

// exitGrace is how long a child has to exit after its stdin was closed, and again after SIGTERM, in real time.
// https://modelcontextprotocol.io/specification/2025-11-25/basic/lifecycle#shutdown
const exitGrace = 2 * time.Second

// inherited are the variables that a child gets of our environment: those that the other SDKs pass. The rest may hold the keys of providers.
var inherited = []string{
	"HOME", "LANG", "LOGNAME", "PATH", "SHELL", "TERM", "TMPDIR", "USER",
	"APPDATA", "HOMEDRIVE", "HOMEPATH", "LOCALAPPDATA", "PATHEXT", "SYSTEMDRIVE", "SYSTEMROOT", "TEMP", "USERNAME", "USERPROFILE",
}

// childTransport starts a server and speaks with it on its stdin and stdout.
type childTransport struct {
	cfg   Server
	env   *environment
	life  context.Context // of the session: its end kills the child
	large func()          // told of a line over the limit
}

// Connect implements sdk.Transport.
func (t *childTransport) Connect(ctx context.Context) (sdk.Connection, error) {
	c, err := startChild(t)
	if err != nil {
		return nil, err
	}
	transport := sdk.IOTransport{Reader: c, Writer: c.stdin, MaxLineLength: -1} // lines are limited here
	return transport.Connect(ctx)
}

// child is a running server process. Read returns its messages.
type child struct {
	env    *environment
	cmd    *exec.Cmd
	stdin  *os.File
	stdout *os.File
	lines  *lineReader
	noise  atomic.Int64  // lines on stderr
	exited chan struct{} // closed when the process is gone
	unbind func() bool   // from the life of the session
}

func startChild(t *childTransport) (*child, error) {
	c := &child{env: t.env, exited: make(chan struct{})}
	c.cmd = exec.Command(t.cfg.Command[0], t.cfg.Command[1:]...)
	for _, name := range inherited {
		if value, ok := os.LookupEnv(name); ok {
			c.cmd.Env = append(c.cmd.Env, name+"="+value)
		}
	}
	c.cmd.Env = append(c.cmd.Env, t.cfg.Env...)
	c.cmd.SysProcAttr = childAttr()
	c.cmd.Stderr = lineCounter{&c.noise}
	c.cmd.WaitDelay = exitGrace // a grandchild may hold stderr

	// Pipes of our own: those of exec are closed when the process ends, with its last words unread.
	theirIn, stdin, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	stdout, theirOut, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, theirIn.Close(), stdin.Close())
	}
	c.stdin, c.stdout, c.cmd.Stdin, c.cmd.Stdout = stdin, stdout, theirIn, theirOut
	err = c.cmd.Start()
	closeBoth(theirIn, theirOut)
	if err != nil {
		closeBoth(stdin, stdout)
		return nil, err
	}
	c.lines = &lineReader{r: bufio.NewReader(stdout), limit: max(listBytes, t.cfg.MaxResultBytes) + lineRoom, large: t.large}
	go func() {
		_ = c.cmd.Wait()
		killChild(c.cmd.Process) // what it started itself: it holds stdout open
		close(c.exited)
		t.env.log.Debug("MCP server ended", slog.String("server", t.cfg.Name), slog.Int("code", c.cmd.ProcessState.ExitCode()),
			slog.Int64("stderr_lines", c.noise.Load()))
	}()
	c.unbind = context.AfterFunc(t.life, func() { killChild(c.cmd.Process) })
	return c, nil
}

func closeBoth(a, b *os.File) {
	_ = a.Close()
	_ = b.Close()
}

// Read implements io.Reader.
func (c *child) Read(p []byte) (int, error) { return c.lines.Read(p) }

// Close closes the child's stdin, waits for it to exit, and makes it when it does not.
func (c *child) Close() error {
	_ = c.stdin.Close()
	for _, stop := range []func(*os.Process){endChild, killChild} {
		timer := time.NewTimer(exitGrace)
		select {
		case <-c.exited:
		case <-timer.C:
			stop(c.cmd.Process)
		}
		timer.Stop()
	}
	<-c.exited
	c.unbind()
	return c.stdout.Close()
}

// lineRoom is what a line may have besides its result, in bytes.
const lineRoom = 64 << 10

// lineReader reads the lines that can be JSON. Some programs greet on stdout, which the SDK would take for a broken connection.
type lineReader struct {
	r     *bufio.Reader
	limit int64
	large func()
	line  []byte // not yet read
}

func (l *lineReader) Read(p []byte) (int, error) {
	for len(l.line) == 0 {
		line, err := l.next()
		if err != nil {
			return 0, err
		}
		if start := bytes.TrimLeft(line, " \t\r"); bytes.HasPrefix(start, []byte("{")) || bytes.HasPrefix(start, []byte("[")) {
			l.line = line
		}
	}
	n := copy(p, l.line)
	l.line = l.line[n:]
	return n, nil
}

// next returns the next line with its end. A last line without one was cut off, and is none.
func (l *lineReader) next() ([]byte, error) {
	var whole []byte
	for {
		part, err := l.r.ReadSlice('\n')
		if int64(len(whole)+len(part)) > l.limit {
			l.large()
			return nil, errTooLarge
		}
		if err == nil && whole == nil {
			return slices.Clone(part), nil
		}
		whole = append(whole, part...)
		switch {
		case err == nil:
			return whole, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		}
	}
}

// lineCounter counts the lines written to it. What they say may be anything, so it is not kept.
type lineCounter struct{ n *atomic.Int64 }

func (c lineCounter) Write(p []byte) (int, error) {
	c.n.Add(int64(strings.Count(string(p), "\n")))
	return len(p), nil
}
