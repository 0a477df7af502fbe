package mcp

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/rogpeppe/go-internal/txtar"
	"github.com/stretchr/testify/require"
)

// rewrite takes what the code makes of the messages for what it should make of them.
var rewrite = flag.Bool("rewrite", false, "rewrite testdata/messages")

func TestMatch(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		pattern, text string
		want          bool
	}{
		{"get", "get", true},
		{"get", "getx", false},
		{"*", "", true},
		{"*", "anything.at/all", true},
		{"get_*", "get_file", true},
		{"get_*", "get", false},
		{"*_file", "get_file", true},
		{"*_file", "get_files", false},
		{"a*b*c", "abc", true},
		{"a*b*c", "a--b--b--c", true},
		{"a*b*c", "acb", false},
		{"a*a", "a", false},
		{"a**a", "aa", true},
		{"*a*", "bab", true},
		{"[a-z]?", "[a-z]?", true},
	} {
		require.Equal(t, tc.want, match(tc.pattern, tc.text), "%q %q", tc.pattern, tc.text)
	}
}

// TestMessages reads the messages of testdata/messages: a result of tools/list or tools/call, and what is made of it.
func TestMessages(t *testing.T) {
	files, err := filepath.Glob("testdata/messages/*.txtar")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			archive, err := txtar.ParseFile(file)
			require.NoError(t, err)
			require.Len(t, archive.Files, 2)
			message, want := archive.Files[0], string(archive.Files[1].Data)
			raw := bytes.TrimSpace(message.Data)
			var got strings.Builder
			switch message.Name {
			case "tools/list":
				p, err := parsePage("demo", raw)
				if err != nil {
					fmt.Fprintln(&got, "error:", err)
					break
				}
				for _, tool := range order(slices.Clone(p.tools)) {
					fmt.Fprintf(&got, "%s title=%q description=%q read=%t idempotent=%t\n%s\n",
						tool.ModelName, tool.Title, tool.Description, tool.ReadOnly, tool.Idempotent, tool.Schema)
				}
				fmt.Fprintf(&got, "next=%q ttl=%v bad=%d\n", p.next, p.ttl, p.bad+p.tasks)
				again, err := parsePage("demo", p.trim)
				require.NoError(t, err)
				require.Len(t, again.tools, len(p.tools))
				for i, tool := range again.tools {
					require.Equal(t, p.tools[i].Name, tool.Name)
					want := noArguments // the SDK keeps what it gets
					if strings.Contains(string(p.tools[i].Schema), headerAnnotation) {
						want = string(p.tools[i].Schema)
					}
					require.JSONEq(t, want, string(tool.Schema))
				}
				var seen sdk.ListToolsResult
				require.NoError(t, json.Unmarshal(p.trim, &seen), "the SDK must be able to read it")
			case "tools/call":
				r, err := parseResult(raw)
				if err != nil {
					fmt.Fprintln(&got, "error:", err)
					break
				}
				for _, c := range r.Content {
					fmt.Fprintf(&got, "%v text=%q data=%x mime=%q uri=%q name=%q\n", c.Kind, c.Text, c.Data, c.MIME, c.URI, c.Name)
				}
				fmt.Fprintf(&got, "structured=%s error=%t\n", r.Structured, r.IsError)
			default:
				t.Fatal("a section named tools/list or tools/call is wanted")
			}
			if *rewrite {
				archive.Files[1].Data = []byte(got.String())
				require.NoError(t, os.WriteFile(file, txtar.Format(archive), 0o600))
				return
			}
			require.Equal(t, want, got.String())
		})
	}
}

// TestEventReader reads streams whole, byte by byte, and cut in two at every place: with each kind of line end, with and without a byte order mark.
func TestEventReader(t *testing.T) {
	t.Parallel()
	const stream = ": hello\n\nevent: endpoint\ndata: /x\n\nid: 1\nretry: 500\n\ndata:one\ndata: two\n\nevent: message\nid: 2\ndata: {\"a\": 1}\n" +
		"unknown: x\nnone\n\n\nid\n\nid: a\x01b\n\nretry: 1\n\nretry: 99999999999999999999\n\ndata: {\"b\":2}\n\n"
	want := []string{
		"endpoint|false||0s|/x", "|true|1|500ms|", "|false||0s|one\ntwo", `message|true|2|0s|{"a": 1}`, "|true||0s|", "|false||100ms|", "|false||1m0s|", `|false||0s|{"b":2}`,
	}
	read := func(r io.Reader) (got []string) {
		events := newEventReader(r, 1<<11)
		for {
			e, err := events.next()
			if err != nil {
				require.Equal(t, io.EOF, err)
				return got
			}
			got = append(got, fmt.Sprintf("%s|%t|%s|%v|%s", e.name, e.hasID, e.id, e.retry, e.data))
		}
	}
	for _, mark := range []string{"", "\xef\xbb\xbf"} {
		for _, end := range []string{"\n", "\r\n", "\r"} {
			stream := mark + strings.ReplaceAll(stream, "\n", end)
			require.Equal(t, want, read(strings.NewReader(stream)))
			require.Equal(t, want, read(iotest.OneByteReader(strings.NewReader(stream))))
			for i := range stream {
				require.Equal(t, want, read(io.MultiReader(strings.NewReader(stream[:i]), strings.NewReader(stream[i:]))))
			}
		}
	}
	long := newEventReader(strings.NewReader("data: "+strings.Repeat("x", 2100)+"\n\n"), 1<<11)
	_, err := long.next()
	require.Equal(t, errTooLarge, err)
	require.Empty(t, read(strings.NewReader("id: "+strings.Repeat("x", 1025)+"\n\nid: 1\nretry: 5")), "an id that is too long for a header, and a block that is cut")
}

// TestEventBody cuts a stream at every byte: what is read is whole events, and what is left is an error of the body.
func TestEventBody(t *testing.T) {
	t.Parallel()
	const one, two = `{"jsonrpc":"2.0","method":"notifications/progress"}`, `{"jsonrpc":"2.0","id":1,"result":{"content":[]}}`
	const stream = "event: message\nid: 7\ndata: " + one + "\n\n: ping\n\ndata: " + two + "\n\n"
	whole := []string{"event: message\nid: 7\ndata: " + one + "\n\n", "data: " + two + "\n\n"}
	read := func(text string) (string, error) {
		r := strings.NewReader(text)
		got, err := io.ReadAll(&eventBody{src: io.NopCloser(r), scan: newEventReader(r, 1<<10), large: func() {}})
		return string(got), err
	}
	for i := range len(stream) + 1 {
		got, err := read(stream[:i])
		switch {
		case err != nil:
			require.Equal(t, io.ErrUnexpectedEOF, err)
		default:
			require.Contains(t, []string{"", whole[0], whole[0] + whole[1], "event: message\ndata: " + one + "\n\n"}, got)
		}
	}
	got, err := read(stream)
	require.NoError(t, err)
	require.Equal(t, whole[0]+whole[1], got)
	_, err = read("data: <html>\n\n")
	require.Equal(t, io.ErrUnexpectedEOF, err)
}

func TestJudge(t *testing.T) {
	t.Parallel()
	sent, unsent := facts{sent: true}, facts{}
	rpc := func(code int64) *jsonrpc.Error { return &jsonrpc.Error{Code: code, Message: "said"} }
	failed := func(code int64) facts { return facts{sent: true, failed: rpc(code)} }
	network := errors.New("connection reset by peer")
	for _, tc := range []struct {
		name string
		c    circumstances
		want Error
		lost bool
		once bool // again even for a tool with effects
		read bool // again for one that only reads
	}{
		{"not sent", circumstances{err: network, facts: unsent}, Error{Kind: Unreachable}, true, true, true},
		{"broke off", circumstances{err: network, facts: sent}, Error{Kind: Unreachable, Ran: true}, false, false, true},
		{"broke off, pipe", circumstances{err: io.EOF, facts: sent, fragile: true}, Error{Kind: Unreachable, Ran: true}, true, false, true},
		{"session closed before", circumstances{err: sdk.ErrConnectionClosed, facts: unsent, broken: true}, Error{Kind: Unreachable}, true, true, true},
		{"session closed meanwhile", circumstances{err: io.EOF, facts: sent, broken: true}, Error{Kind: Unreachable, Ran: true}, true, false, true},
		{"timeout", circumstances{cause: errTimeout, facts: sent}, Error{Kind: Timeout, Ran: true}, false, false, false},
		{"cancelled before", circumstances{cause: io.EOF, facts: unsent}, Error{Kind: Canceled}, false, false, false},
		{"cancelled", circumstances{cause: io.EOF, facts: sent}, Error{Kind: Canceled, Ran: true}, false, false, false},
		{"closed", circumstances{cause: errClosed, facts: sent}, Error{Kind: Closed, Ran: true}, false, false, false},
		{"too large", circumstances{cause: errTooLarge, facts: facts{sent: true, large: true}}, Error{Kind: TooLarge, Ran: true}, false, false, false},
		{"too large for the session", circumstances{err: io.EOF, facts: sent, broken: true, overflow: true}, Error{Kind: TooLarge, Ran: true}, true, false, false},
		{"401", circumstances{err: &answerError{status: 401}, facts: sent}, Error{Kind: Refused, Status: 401}, true, true, true},
		{"403", circumstances{err: &answerError{status: 403, rpc: rpc(-32000)}, facts: sent}, Error{Kind: Refused, Status: 403, Code: -32000, Message: "said"}, true, true, true},
		{"404", circumstances{err: &answerError{status: 404}, facts: sent}, Error{Kind: NotFound, Status: 404}, true, true, true},
		{"400 for the session", circumstances{err: &answerError{status: 400, rpc: rpc(-32000)}, facts: sent, hasID: true}, Error{Kind: HTTP, Status: 400, Code: -32000, Message: "said"}, true, true, true},
		{"400 for the arguments", circumstances{err: &answerError{status: 400, rpc: rpc(-32602)}, facts: sent, hasID: true}, Error{Kind: Protocol, Code: -32602, Message: "said", Ran: true}, false, false, false},
		{"400 without a session", circumstances{err: &answerError{status: 400}, facts: sent}, Error{Kind: HTTP, Status: 400}, false, false, false},
		{"400 for the headers", circumstances{err: &answerError{status: 400, rpc: rpc(sdk.CodeHeaderMismatch)}, facts: sent}, Error{Kind: Protocol, Code: sdk.CodeHeaderMismatch, Message: "said"}, true, true, true},
		{"429", circumstances{err: &answerError{status: 429, retryAfter: 3}, facts: sent}, Error{Kind: HTTP, Status: 429, RetryAfter: 3}, false, false, false},
		{"500", circumstances{err: &answerError{status: 500}, facts: sent}, Error{Kind: HTTP, Status: 500, Ran: true}, false, false, false},
		{"500 with an error", circumstances{err: &answerError{status: 500, rpc: rpc(-32603)}, facts: sent}, Error{Kind: Protocol, Status: 500, Code: -32603, Message: "said", Ran: true}, false, false, false},
		{"HTML", circumstances{err: &answerError{status: 200}, facts: sent}, Error{Kind: Protocol, Ran: true}, true, false, true},
		{"an answer, while the stream broke", circumstances{err: io.EOF, facts: facts{sent: true, answer: &answerError{status: 404}}}, Error{Kind: NotFound, Status: 404}, true, true, true},
		{"a stream that cannot be resumed", circumstances{cause: &answerError{status: 404}, facts: sent}, Error{Kind: NotFound, Status: 404, Ran: true}, true, false, true},
		{"an error", circumstances{err: network, facts: failed(-32000)}, Error{Kind: Protocol, Code: -32000, Message: "said", Ran: true}, false, false, false},
		{"no such method", circumstances{err: network, facts: failed(-32601)}, Error{Kind: Protocol, Code: -32601, Message: "said"}, false, false, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			e, lost := judge(tc.c)
			require.Equal(t, &tc.want, e)
			require.Equal(t, tc.lost, lost)
			require.Equal(t, tc.once, again(e, lost, Tool{}))
			require.Equal(t, tc.read, again(e, lost, Tool{ReadOnly: true}))
			require.Equal(t, tc.read, again(e, lost, Tool{Idempotent: true}))
			require.NotContains(t, e.Error(), "said")
			require.Equal(t, tc.want.Message != "", strings.Contains(e.ForModel(), "said"))
		})
	}
}

func TestErrorText(t *testing.T) {
	t.Parallel()
	require.Equal(t, `MCP server "docs", tool "find": no answer in time; the tool may have run`,
		(&Error{Kind: Timeout, Server: "docs", Tool: "find", Ran: true}).Error())
	require.Equal(t, `MCP server "docs", tool "find": there is no such tool`, (&Error{Kind: NotFound, Server: "docs", Tool: "find"}).Error())
	require.Equal(t, `MCP server "docs": the server answered with status 503 Service Unavailable`, (&Error{Kind: HTTP, Server: "docs", Status: 503}).Error())
	for k := Unreachable; k <= Closed; k++ {
		require.NotEqual(t, "unknown", k.String())
		require.NotContains(t, (&Error{Kind: k}).Error(), "unknown")
	}
	require.LessOrEqual(t, len(cut(strings.Repeat("é", 2000))), maxMessage)
}

// FuzzMessages checks that nothing that a server sends as a list or a result breaks the reading of it, and that what is kept has bounds.
func FuzzMessages(f *testing.F) {
	files, err := filepath.Glob("testdata/messages/*.txtar")
	require.NoError(f, err)
	require.NotEmpty(f, files)
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		require.NoError(f, err)
		f.Add(bytes.TrimSpace(archive.Files[0].Data))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if p, err := parsePage("demo", raw); err == nil {
			require.True(t, json.Valid(p.trim))
			for _, tool := range p.tools {
				require.LessOrEqual(t, len(tool.Name), maxName)
				require.Equal(t, byte('{'), tool.Schema[0])
			}
		}
		if r, err := parseResult(raw); err == nil {
			require.LessOrEqual(t, len(r.Content), maxBlocks+1)
		}
	})
}
