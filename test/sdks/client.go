package sdks

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Language is what a client's program is written in.
type Language string

// The languages.
const (
	Python Language = "python"
	Node   Language = "node"
	Go     Language = "go"
)

// Client is a program in test/clients and the set of packages that it runs with.
type Client struct {
	Name     string // for people: openai-python 3
	Language Language
	Set      string // newest or older: requirements-<set>.txt, the folder <set> with package-lock.json, or that of a Go module
	Program  string // in the folder of the language; none in Go, where the set is the program
}

// Request is one conversation that a client is to have. The programs read it as a line of JSON.
type Request struct {
	API     string `json:"api"`  // responses, chat or messages
	Mode    string `json:"mode"` // stream or plain
	BaseURL string `json:"base_url"`
	Key     string `json:"key"` // the client's own credential
	Model   string `json:"model"`
	// Users are what the user says, one after the other, each once the model has finished.
	Users []string `json:"users"`
	// Tools are the client's own functions. When the model calls one, the client sends its result and goes on.
	Tools []Tool `json:"tools,omitempty"`
	// Previous continues a conversation by previous_response_id. Otherwise the whole history is sent each time (Responses).
	Previous bool `json:"previous,omitempty"`
	// Options are further members of each request, as the dialect has them.
	Options map[string]any `json:"options,omitempty"`
}

// Tool is a function of the client's.
type Tool struct {
	Name       string         `json:"name"`
	Parameters map[string]any `json:"parameters"`
	Result     string         `json:"result"` // whatever the arguments
}

// Reply is what came of a conversation.
type Reply struct {
	// Answers are the answers in order, one for each request that the client made.
	Answers []Answer `json:"answers"`
	// Error is what the SDK raised, after the answers; nil if nothing.
	Error *Error `json:"error"`
}

// Answer is an answer as the SDK assembled it.
type Answer struct {
	// Object is the SDK's final object as JSON.
	Object json.RawMessage `json:"object"`
	// Text is what the model said, by the SDK's own accessor.
	Text string `json:"text"`
	// Events are the types of the events of the stream, as the SDK handed them out; none without a stream.
	Events []string `json:"events"`
}

// Error is an error as the SDK raised it.
type Error struct {
	Class   string `json:"class"` // of the exception
	Status  int    `json:"status"`
	Type    string `json:"type"`
	Code    string `json:"code"`
	Message string `json:"message"` // of the error in the answer's body, where the SDK tells it, else the exception's
	Trace   string `json:"trace"`
}

// askTimeout bounds one conversation, with the start of the program, on a machine that is busy with other tests too.
const askTimeout = 2 * time.Minute

// Process is a running client.
type Process struct {
	client Client
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	lines  *bufio.Reader
	stderr logBuffer
}

// Start starts a client, which ends with the test, and installs what it needs before.
func Start(t testing.TB, c Client) *Process {
	t.Helper()
	cmd, err := command(t.Context(), c)
	require.NoError(t, err)
	p := &Process{client: c, cmd: cmd}
	p.cmd.Stderr = &p.stderr
	p.cmd.WaitDelay = time.Second
	p.stdin, err = p.cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := p.cmd.StdoutPipe()
	require.NoError(t, err)
	p.lines = bufio.NewReader(stdout)
	require.NoError(t, p.cmd.Start())
	t.Cleanup(func() { p.end(t) })
	return p
}

// command is the run of a client's program. It outlives ctx, which bounds the installation only.
func command(ctx context.Context, c Client) (*exec.Cmd, error) {
	folder, err := clientsFolder()
	if err != nil {
		return nil, err
	}
	folder = filepath.Join(folder, string(c.Language))
	if c.Language == Go {
		program, err := GoProgram(ctx, filepath.Join(folder, c.Set))
		return Runtime{Interpreter: program}.Command(context.Background()), err
	}
	var rt Runtime
	var args []string
	if c.Language == Node {
		rt, err = NodePackages(ctx, filepath.Join(folder, c.Set))
		args = []string{rt.Packages}
	} else {
		rt, err = PythonPackages(ctx, filepath.Join(folder, "requirements-"+c.Set+".txt"))
	}
	args = append([]string{filepath.Join(folder, c.Program)}, args...)
	return rt.Command(context.Background(), args...), err
}

// end closes the program's input, which ends it. What it wrote beside its answers is a warning of the SDK's about what it read.
func (p *Process) end(t testing.TB) {
	t.Helper()
	p.stdin.Close()
	kill := time.AfterFunc(askTimeout, func() { _ = p.cmd.Process.Kill() })
	defer kill.Stop()
	if err := p.cmd.Wait(); err != nil && !t.Failed() {
		t.Errorf("%s: %v\n%s", p.client.Name, err, p.stderr.String())
	}
	if said := p.stderr.String(); said != "" && !t.Failed() {
		t.Errorf("%s has something to say:\n%s", p.client.Name, said)
	}
}

// Ask has one conversation. It is not safe for concurrent use.
func (p *Process) Ask(t testing.TB, r Request) Reply {
	t.Helper()
	line, err := json.Marshal(r)
	require.NoError(t, err)
	kill := time.AfterFunc(askTimeout, func() { _ = p.cmd.Process.Kill() })
	defer kill.Stop()
	_, err = p.stdin.Write(append(line, '\n'))
	require.NoError(t, err, "%s\n%s", p.client.Name, p.stderr.String())
	answer, err := p.lines.ReadBytes('\n')
	require.NoError(t, err, "%s gives no answer: %s", p.client.Name, p.stderr.String())
	var reply Reply
	require.NoError(t, json.Unmarshal(answer, &reply), "%s", answer)
	return reply
}

// logBuffer is what a program writes, read while it does.
type logBuffer struct {
	mu sync.Mutex // protects b
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
