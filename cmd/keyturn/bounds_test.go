package main

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/config"
)

// setting is one setting of a file: every value that is good, up to its bounds, and every value that is not.
type setting struct {
	path      string // as in the file, with the list's first element for a list
	good, bad []string
}

// settings are those with bounds, and those of which some words are taken.
var settings = []setting{
	{"listen", []string{"127.0.0.1:65535", "unix:x.sock"}, []string{"127.0.0.1:65536", "127.0.0.1:-1", "unix:"}},
	{"admin.listen", []string{"127.0.0.1:65535"}, []string{"127.0.0.1:65536"}},
	{"envoy.listen", []string{"127.0.0.1:65535", "127.0.0.1:0"}, []string{"127.0.0.1:65536", "127.0.0.1:-1", "localhost:80"}},
	{"envoy.admin", []string{"127.0.0.1:65535"}, []string{"127.0.0.1:65536", "0.0.0.0:9901"}},
	{"envoy.inner", []string{"internal", "unix:inner.sock"}, []string{"unix:@inner", "127.0.0.1:1"}},
	{"envoy.loopback", []string{"unix:l.sock"}, []string{"unix:@l", "127.0.0.1:1"}},
	{"envoy.max_request_bytes", []string{"1KiB", "128MiB"}, []string{"1023B", "134217729B", "200MiB", "256MiB"}},
	{"envoy.concurrency", []string{"0", "1024"}, []string{"-1", "1025"}},
	{"envoy.idle_timeout", []string{"1s", "24h"}, []string{"0", "999ms", "24h1ms"}},
	{"pools[0].name", []string{strings.Repeat("n", 63)}, []string{strings.Repeat("n", 64), "v1", "keyturn-processor", "keyturn-inner", "keyturn-jwks"}},
	{"pools[0].clusters", []string{"[keyturn]", "[keyturn-loopback]"}, []string{"[keyturn-processor]", "[keyturn-inner]", "[a, keyturn-jwks]", "[a, a]", `[""]`}},
	{"pools[0].upstream", []string{"http://h:1", "https://h:65535/v1"}, []string{"http://h:0", "https://h:65536", "ftp://h", "https://", "https://h?q", "https://h#f", "https://u@h"}},
	{"pools[0].credential.header", []string{strings.Repeat("h", 64)}, []string{strings.Repeat("h", 65), "host", "x-envoy-a", "x-keyturn-a", "a:b"}},
	{"pools[0].deadline", []string{"1ms", "1h"}, []string{"0", "1h1ms"}},
	{"pools[0].revive_after", []string{"0", "1ms", "24h", "25h", "720h"}, []string{"-1s", "720h1ms"}},
	{"pools[0].max_body", []string{"1KiB", "128MiB"}, []string{"1023B", "134217729B", "200MiB", "256MiB"}},
	{"pools[0].cooldown", []string{
		"{min: 0}", "{min: 0, default: 1ms, max: 1ms}", "{min: 720h, default: 720h, max: 720h}", "{min: 1ms, default: 1ms}", "{billing: 1ms, billing_max: 1ms}", "{billing: 720h, billing_max: 720h}",
	}, []string{"{default: 0}", "{max: 0}", "{billing: 0}", "{billing_max: 0}", "{max: 720h1ms}", "{billing_max: 720h1ms}", "{min: 61m}", "{min: 61s}", "{default: 61m}", "{max: 59s}", "{billing: 25h}"}},
	{"pools[0].policy.rules", []string{
		"[{status: 400, action: surface}]", "[{status: 599, action: surface}]", "[{code: " + strings.Repeat("c", 64) + ", action: surface}]",
		"[{status: 403, action: cooldown, for: 1ms}]", "[{code: model_gone, action: next_key, for: 1h}]", "[{status: 403, action: cooldown, for: 720h}]",
	}, []string{
		"[{status: 399, action: surface}]", "[{status: 600, action: surface}]", "[{code: " + strings.Repeat("c", 65) + ", action: surface}]", "[{status: 403, action: none}]",
		"[{status: 403, action: cooldown, for: 0}]", "[{status: 403, action: cooldown, for: 720h1ms}]", "[{status: 403, action: surface, for: 1s}]", `[{code: "[", action: surface}]`,
	}},
	{"pools[0].tools.turns", []string{"2", "100"}, []string{"0", "1", "101"}},
	{"pools[0].tools.calls", []string{"1", "1000"}, []string{"0", "1001"}},
	{"pools[0].tools.time", []string{"1s", "1h"}, []string{"0", "999ms", "1h1ms"}},
	{"pools[0].tools.result_bytes", []string{"1KiB", "16MiB"}, []string{"1023B", "16777217B"}},
	{"pools[0].tools.definition_bytes", []string{"1KiB", "16MiB"}, []string{"1023B", "16777217B"}},
	{"pools[0].tools.memory", []string{"0", "1ms", "720h"}, []string{"-1s", "720h1ms"}},
	{"pools[0].tools.memory_bytes", []string{"1MiB", "64GiB"}, []string{"1023KiB", "65GiB"}},
	{"pools[0].tools.servers", []string{"[docs]"}, []string{"[]", "[docs, docs]", "[other]"}},
	{"tools.servers[0].name", []string{"docs"}, []string{"docs-", "Docs", strings.Repeat("d", 33)}},
	{"tools.servers[0].url", []string{`"http://127.0.0.1:65535"`}, []string{`"http://h:0"`, `"ftp://h"`, `"http://u@h"`, `"http://h#f"`}},
	{"tools.servers[0].timeout", []string{"1ms", "1h"}, []string{"0", "1h1ms"}},
	{"tools.servers[0].refresh", []string{"1s", "24h"}, []string{"0", "999ms", "24h1ms"}},
	{"tools.servers[0].allow", []string{`["*"]`}, []string{"[]", `[""]`}},
	{"tools.servers[0].deny", []string{`[a]`}, []string{`["*"]`, `[""]`}},
	{"tools.servers[0].headers", []string{"{x-a: b}"}, []string{
		"{accept: b}", "{connection: b}", "{content-length: '1'}", "{content-type: b}", "{host: b}", "{last-event-id: b}", "{mcp-method: b}", "{mcp-name: b}",
		"{mcp-protocol-version: b}", "{mcp-session-id: b}", "{transfer-encoding: b}", "{'a b': c}", `{x-a: "a\nb"}`,
	}},
}

// withSetting is a configuration whose other settings are the defaults, with tools where the setting is theirs.
func withSetting(path, value string) string {
	tree := map[string]string{"pools[0].provider": "openai", "pools[0].keys": "[{env: BOUNDS_KEY}]"}
	if strings.Contains(path, "tools") {
		tree["pools[0].tools.servers"], tree["tools.servers[0].name"], tree["tools.servers[0].url"] = "[docs]", "docs", `"http://127.0.0.1:1"`
	}
	tree[path] = value
	section := func(prefix string) string {
		var fields []string
		nested := map[string][]string{}
		for at, v := range tree {
			name, ok := strings.CutPrefix(at, prefix)
			if !ok {
				continue
			}
			if outer, inner, deeper := strings.Cut(name, "."); deeper {
				nested[outer] = append(nested[outer], inner+": "+v)
				continue
			}
			fields = append(fields, name+": "+v)
		}
		for outer, inner := range nested {
			fields = append(fields, outer+": {"+strings.Join(inner, ", ")+"}")
		}
		return "{" + strings.Join(fields, ", ") + "}"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "pools: [%s]\n", section("pools[0]."))
	if servers := section("tools.servers[0]."); servers != "{}" {
		fmt.Fprintf(&b, "tools: {servers: [%s]}\n", servers)
	}
	for _, name := range []string{"envoy", "admin"} {
		if of := section(name + "."); of != "{}" {
			fmt.Fprintf(&b, "%s: %s\n", name, of)
		}
	}
	if listen := tree["listen"]; listen != "" {
		fmt.Fprintf(&b, "listen: %s\n", listen)
	}
	return b.String()
}

// command runs a command in this process.
func command(args ...string) (output string, err error) {
	var out bytes.Buffer
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(&out)
	err = root.Execute()
	return out.String(), err
}

// TestEveryCommandDrawsTheSameLine: what check accepts, render prints and serve begins with; what is beyond it, check refuses. So nobody learns of
// it at the next start.
func TestEveryCommandDrawsTheSameLine(t *testing.T) {
	t.Setenv("BOUNDS_KEY", "a-key-for-bounds")
	t.Chdir(t.TempDir()) // short, for the sockets' sake
	file := filepath.Join(".", "keyturn.yaml")
	for _, s := range settings {
		for i, value := range append(append([]string{}, s.good...), s.bad...) {
			good := i < len(s.good)
			t.Run(s.path+"="+value, func(t *testing.T) {
				text := withSetting(s.path, value)
				require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
				found, err := command("check", "-c", file)
				if !good {
					require.Error(t, err, "check accepts\n%s", text)
					require.NotContains(t, found, "nothing found")
					_, err = command("render", "envoy", "-c", file)
					require.Error(t, err, "render accepts\n%s", text)
					return
				}
				require.NoError(t, err, "check refuses\n%s%s", text, found)
				_, err = command("render", "envoy", "-c", file)
				require.NoError(t, err, "render refuses\n%s", text)
				cfg, err := config.Load(file)
				require.NoError(t, err)
				g, err := newGateway(cfg, slog.New(slog.DiscardHandler))
				require.NoError(t, err, "serve refuses\n%s", text)
				require.NoError(t, g.close())
			})
		}
	}
}

// TestChecksSocketsOfRender: the path of a socket is too long for check and for render alike, be it one that nobody wrote.
func TestChecksSocketsOfRender(t *testing.T) {
	t.Setenv("BOUNDS_KEY", "a-key-for-bounds")
	folder := filepath.Join(t.TempDir(), strings.Repeat("d", 90))
	require.NoError(t, os.Mkdir(folder, 0o700))
	file := filepath.Join(folder, "keyturn.yaml")
	for _, text := range []string{
		"listen: 127.0.0.1:0\npools: [{provider: openai, keys: [{env: BOUNDS_KEY}]}]\n",
		"listen: 127.0.0.1:0\npools: [{provider: openai, keys: [{env: BOUNDS_KEY}], tools: {servers: [d]}}]\ntools: {servers: [{name: d, url: 'http://127.0.0.1:1'}]}\n",
		"listen: 127.0.0.1:0\npools: [{provider: openai, keys: [{env: BOUNDS_KEY}]}]\nenvoy: {listen: 127.0.0.1:0}\n",
	} {
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		_, checked := command("check", "-c", file)
		_, rendered := command("render", "envoy", "-c", file)
		require.Equal(t, checked == nil, rendered == nil, "%s\ncheck: %v\nrender: %v", text, checked, rendered)
	}
}
