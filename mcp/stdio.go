package mcp

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

const (
	// exitGrace is how long a child has to exit after its stdin was closed, and again after SIGTERM, in real time.
	// https://modelcontextprotocol.io/specification/2025-11-25/basic/lifecycle#shutdown
	exitGrace = 2 * time.Second

	// lastGrace is how long a child has to exit after it closed its stdout, so that its end can be told, in real time.
	lastGrace = time.Second
)

// inherited are the variables that a child gets of our environment: those that the other SDKs pass. The rest may hold the keys of providers.
var inherited = []string{
	"HOME", "LANG", "LOGNAME", "PATH", "SHELL", "TERM", "TMPDIR", "USER",
	"APPDATA", "HOMEDRIVE", "HOMEPATH", "LOCALAPPDATA", "PATHEXT", "SYSTEMDRIVE", "SYSTEMROOT", "TEMP", "USERNAME", "USERPROFILE",
}

// markName is the variable by which the processes that a child starts are found when it has ended.
const markName = "KEYTURN_MCP_CHILD"

// childTransport starts a server and speaks with it on its stdin and stdout.
type childTransport struct {
	cfg   Server
	env   *environment
	life  context.Context // of the session: its end kills the child
	large func()          // told of a line over the limit

	child *child // that Connect started; nil: none yet
}

// Connect implements sdk.Transport.
func (t *childTransport) Connect(context.Context) (sdk.Connection, error) {
	c, err := startChild(t)
	if err != nil {
		return nil, &programError{"cannot be started: " + reason(err), err}
	}
	t.child = c
	return c, nil
}

// child is a running server process, and the connection to it.
type child struct {
	server string
	env    *environment
	cmd    *exec.Cmd
	mark   string // the variable markName with its value
	stdin  *os.File
	stdout *os.File
	lines  *lineReader
	words  *lastWords
	noise  atomic.Int64  // lines on stdout that are no messages
	asked  atomic.Bool   // to end, by us
	exited chan struct{} // closed when the process is gone, with all that it started
	unbind func() bool   // from the life of the session

	mu sync.Mutex // one message is written at a time
}

func startChild(t *childTransport) (*child, error) {
	var mark [16]byte
	_, _ = rand.Read(mark[:])
	c := &child{
		server: t.cfg.Name, env: t.env, exited: make(chan struct{}), words: newLastWords(t.cfg.Env), mark: markName + "=" + hex.EncodeToString(mark[:]),
	}
	c.cmd = exec.Command(t.cfg.Command[0], t.cfg.Command[1:]...)
	for _, name := range inherited {
		if value, ok := os.LookupEnv(name); ok {
			c.cmd.Env = append(c.cmd.Env, name+"="+value)
		}
	}
	c.cmd.Env = append(append(c.cmd.Env, t.cfg.Env...), c.mark)
	c.cmd.SysProcAttr = childAttr()
	c.cmd.Stderr = c.words
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
	c.lines = &lineReader{r: bufio.NewReader(stdout), limit: max(listBytes, t.cfg.MaxResultBytes) + lineRoom, large: t.large}
	started := make(chan error)
	go c.run(started)
	err = <-started
	closeBoth(theirIn, theirOut)
	if err != nil {
		closeBoth(stdin, stdout)
		return nil, err
	}
	c.unbind = context.AfterFunc(t.life, c.kill)
	return c, nil
}

// run starts the process and waits for its end on one OS thread: Linux kills a child when the thread that started it ends, and Go may end a thread
// that no goroutine holds.
func (c *child) run(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(c.exited)
	err := c.cmd.Start()
	started <- err
	if err != nil {
		return
	}
	_ = c.cmd.Wait()
	killChild(c.cmd.Process) // what it started itself: it holds stdout open
	killMarked(c.mark)
	how := c.cmd.ProcessState.String()
	level := slog.LevelDebug
	if !c.asked.Load() && c.env.limits.again(c.server, how) {
		level = slog.LevelWarn
	}
	c.env.log.Log(context.Background(), level, "MCP server's program ended", slog.String("server", c.server), slog.String("how", how),
		slog.String("stderr", c.words.said()), slog.Int64("stderr_lines", c.words.count()))
}

func (c *child) kill() {
	c.asked.Store(true)
	killChild(c.cmd.Process)
}

func closeBoth(a, b *os.File) {
	_ = a.Close()
	_ = b.Close()
}

// Read implements sdk.Connection. It ends when the child closes its stdout, which Close brings about.
func (c *child) Read(context.Context) (jsonrpc.Message, error) {
	for {
		line, err := c.lines.next()
		if err != nil {
			c.await(lastGrace)
			return nil, err
		}
		line = bytes.TrimSpace(line)
		if msg, err := jsonrpc.DecodeMessage(line); err == nil {
			return msg, nil
		}
		// Some programs write their log on stdout, although the specification forbids it.
		if len(line) > 0 && c.noise.Add(1) == 1 {
			c.env.limits.leftOut(c.server, "lines on standard output that are no messages")
		}
	}
}

// Write implements sdk.Connection. It lasts until the child reads, or is killed.
func (c *child) Write(_ context.Context, msg jsonrpc.Message) error {
	data, err := jsonrpc.EncodeMessage(msg)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	_, err = c.stdin.Write(append(data, '\n'))
	return err
}

// SessionID implements sdk.Connection: there is none.
func (*child) SessionID() string { return "" }

// Close implements sdk.Connection: it closes the child's stdin, waits for it to exit, and makes it when it does not.
func (c *child) Close() error {
	if !c.over() {
		c.asked.Store(true)
	}
	_ = c.stdin.Close()
	for _, stop := range []func(){func() { endChild(c.cmd.Process) }, c.kill} {
		if !c.await(exitGrace) {
			stop()
		}
	}
	<-c.exited
	c.unbind()
	return c.stdout.Close()
}

// await waits for the child's end, for a time. It reports whether it came.
func (c *child) await(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-c.exited:
		return true
	case <-timer.C:
		return false
	}
}

func (c *child) over() bool {
	select {
	case <-c.exited:
		return true
	default:
		return false
	}
}

// ended says how the child ended by itself; "": it runs, or we ended it.
func (t *childTransport) ended() string {
	if t == nil || t.child == nil || t.child.asked.Load() || !t.child.over() {
		return ""
	}
	return "ended: " + t.child.cmd.ProcessState.String()
}

// lineRoom is what a line may have besides its result, in bytes.
const lineRoom = 64 << 10

// lineReader reads lines of bounded length.
type lineReader struct {
	r     *bufio.Reader
	limit int64
	large func()
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
