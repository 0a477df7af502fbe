package mcp_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/mcp"
)

const fileEnv = "KEYTURN_TEST_FILE"

// rawChild is the test binary as a server of lines.
func rawChild(how string) {
	switch how {
	case "poor":
		fmt.Fprintln(os.Stderr, "starting up")
		fmt.Fprintln(os.Stderr, "\x1b[31mError:\x1b[0m API_KEY "+os.Getenv(secretEnv)+" of sk-proj-0123456789abcdefghij is not set")
		os.Exit(1)
	case "parent": // what it starts leaves its process group, and writes down which process it is
		child := exec.Command("/bin/sh", "-c", `echo $$ > "$0.new" && mv "$0.new" "$0" && exec sleep 1000`, os.Getenv(fileEnv))
		child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err := child.Start(); err != nil {
			os.Exit(1)
		}
	case "pings": // it asks, and takes no answer
		go func() {
			for n := range 3000 {
				fmt.Printf(`{"jsonrpc":"2.0","id":"%d-%s","method":"ping"}`+"\n", n, strings.Repeat("x", 900))
			}
		}()
	}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for first := true; lines.Scan(); first = false {
		var m struct {
			ID     json.RawMessage
			Method string
			Params struct{ Arguments struct{ Bytes int } }
		}
		_ = json.Unmarshal(lines.Bytes(), &m)
		switch {
		case how == "first initialize" && first && m.Method != "initialize":
			os.Exit(1) // as rmcp before 3.0
		case m.ID == nil || m.Method == "":
		case how == "refuses initialize" && m.Method == "initialize":
			fmt.Printf(`{"jsonrpc":"2.0","id":%s,"error":{"code":-32601,"message":"unknown"}}`+"\n", m.ID)
		case m.Method == "initialize":
			fmt.Printf(`{"jsonrpc":"2.0","id":%s,"result":%s}`+"\n", m.ID, initialized)
		case m.Method == "server/discover":
			fmt.Printf(`{"jsonrpc":"2.0","id":%s,"result":{"supportedVersions":["2026-07-28"],"capabilities":{"tools":{}}}}`+"\n", m.ID)
		case m.Method == "tools/list":
			fmt.Printf(`{"jsonrpc":"2.0","id":%s,"result":{"tools":[{"name":"pid_%d"},{"name":"echo"},{"name":"big","annotations":{"readOnlyHint":true}}]}}`+"\n", m.ID, os.Getpid())
		case m.Params.Arguments.Bytes > 0:
			fmt.Printf(`{"jsonrpc":"2.0","id":%s,"result":{"content":[{"type":"text","text":"%s"}]}}`+"\n", m.ID, strings.Repeat("x", m.Params.Arguments.Bytes))
		default:
			fmt.Printf(`{"jsonrpc":"2.0","id":%s,"result":{"content":[{"type":"text","text":"hello"}]}}`+"\n", m.ID)
		}
		if how == "pings" && m.Method == "tools/list" {
			select {}
		}
	}
}

// TestChildFirst begins with initialize, and with server/discover where that is refused.
func TestChildFirst(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"first initialize", "refuses initialize"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			c, log := watched(t, child(how))
			up(t, c)
			echo(t, c)
			require.NotContains(t, log.String(), "cannot be used")
		})
	}
}

// TestChildPings has a command that asks all the time and reads nothing: what waits to be written is bounded.
func TestChildPings(t *testing.T) {
	t.Parallel()
	c, log := watched(t, child("pings"))
	up(t, c)
	process := pid(t, c)
	require.Eventually(t, func() bool { return strings.Contains(log.String(), "too many requests at the same time") }, patience, interval)
	require.NoError(t, c.Close())
	gone(t, process)
}

// TestChildNoise names a server that writes more than messages on its standard output.
func TestChildNoise(t *testing.T) {
	t.Parallel()
	c, log := watched(t, child("noisy"))
	up(t, c)
	echo(t, c)
	require.Equal(t, 1, strings.Count(log.String(), `msg="MCP server sends what cannot be used" server=demo left_out="lines on standard output that are no messages"`))
}

// TestChildWords tells the operator what a command said before it ended, without what was given to it and what looks like a key.
func TestChildWords(t *testing.T) {
	t.Parallel()
	c, log := watched(t, child("poor", secretEnv+"=hush-hush"))
	require.Eventually(t, func() bool { return strings.Contains(log.String(), "cannot be used") }, patience, interval)
	_, err := text(t.Context(), c, "echo", "")
	require.Equal(t, &mcp.Error{Kind: mcp.Unreachable, Server: "demo", Tool: "echo", Program: "ended: exit status 1"}, failure(t, err))
	require.Contains(t, log.String(), `level=WARN msg="MCP server's program ended" server=demo how="exit status 1" `+
		`stderr="starting up | [31mError: [0m API_KEY […] of […] is not set" stderr_lines=2`)
	require.NotContains(t, log.String(), "hush")
	require.NotContains(t, log.String(), "sk-proj")
}

// TestChildLeavesNothing ends what a command started, also what left its process group.
func TestChildLeavesNothing(t *testing.T) {
	t.Parallel()
	for _, end := range []string{"closed", "killed"} {
		t.Run(end, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "pid")
			c, _ := watched(t, child("parent", fileEnv+"="+file))
			up(t, c)
			var descendant int
			require.Eventually(t, func() bool {
				text, err := os.ReadFile(file)
				if err != nil {
					return false
				}
				descendant, err = strconv.Atoi(strings.TrimSpace(string(text)))
				return err == nil
			}, patience, interval)
			if end == "killed" {
				require.NoError(t, os.Remove(file))
				require.NoError(t, syscall.Kill(pid(t, c), syscall.SIGKILL))
			} else {
				require.NoError(t, c.Close())
			}
			gone(t, descendant)
		})
	}
}
