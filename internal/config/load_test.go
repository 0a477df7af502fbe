package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keyturn/keyturn/internal/provider"
	"github.com/stretchr/testify/require"
)

// write makes a file in a folder of the test, with mode 0600.
func write(t *testing.T, path, text string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
}

func TestLoadOfWhatIsNoConfiguration(t *testing.T) {
	folder := t.TempDir()
	in := func(name string) string { return filepath.Join(folder, name) }
	write(t, in("empty.yaml"), "")
	write(t, in("nothing.yaml"), "---\n")
	write(t, in("large.yaml"), "pools: []\n"+strings.Repeat("# much\n", maxFileBytes/7+1))
	write(t, in("binary.yaml"), "\x7fELF\x02\x01\x01\x00")
	write(t, in("latin.yaml"), "pools: []\nlisten: \xfc\n")
	require.NoError(t, os.Symlink(in("round.yaml"), in("round.yaml")))
	for _, tc := range []struct{ name, file, want string }{
		{"missing", "nowhere.yaml", "nowhere.yaml: does not exist; create it, or name another"},
		{"folder", ".", "is a folder; name a file in it"},
		{"device", "/dev/null", "/dev/null: is not a regular file; name one"},
		{"circle of links", "round.yaml", "cannot be read (too many levels of symbolic links); name another"},
		{"empty", "empty.yaml", "is empty; a configuration begins with pools:"},
		{"nothing", "nothing.yaml", "is empty; a configuration begins with pools:"},
		{"large", "large.yaml", "is larger than 1MiB; make it smaller, or name another"},
		{"binary", "binary.yaml", "binary.yaml:1: a control character; this is no text file"},
		{"latin-1", "latin.yaml", "latin.yaml:2: a character that is not UTF-8"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := tc.file
			if !filepath.IsAbs(path) {
				path = in(tc.file)
			}
			c, err := Load(path)
			require.ErrorContains(t, err, tc.want)
			require.Nil(t, c)
		})
	}
}

func TestAFileThatMustNotBeReadIsToldFromAMissingOne(t *testing.T) {
	denied := &fs.PathError{Op: "open", Path: "hush", Err: fs.ErrPermission}
	require.Equal(t, "must not be read by this user; change its owner or its mode, or name another", cannotRead(denied))
	require.Equal(t, "cannot be read; name another", cannotRead(&fs.PathError{Op: "open", Path: "hush", Err: fs.ErrClosed}))
}

func TestAnchorsCannotMakeASmallFileEndless(t *testing.T) {
	var b strings.Builder
	b.WriteString("pools:\n- &p\n  provider: openai\n  clusters: &c [" + strings.Repeat("a,", 2000) + "b]\n  keys: [{env: KT_A}]\n")
	b.WriteString(strings.Repeat("- *p\n", 2000))
	path := filepath.Join(t.TempDir(), "keyturn.yaml")
	write(t, path, b.String())
	_, err := Load(path)
	require.ErrorContains(t, err, "holds more than 200000 values once its anchors are followed")
}

// TestMergesCannotMakeASmallFileEndless is about mappings that merge a thousand times what merges a thousand times, and so on.
func TestMergesCannotMakeASmallFileEndless(t *testing.T) {
	var b strings.Builder
	b.WriteString("pools:\n- provider: openai\n  keys: [{env: KT_A}]\n  tools: {servers: [a]}\ntools:\n  servers:\n")
	before := "x-team: docs"
	for level := range 6 {
		fmt.Fprintf(&b, "  - {name: a%d, url: \"https://mcp.example.com\", headers: &h%d {%s}}\n", level, level, before)
		alias := fmt.Sprintf("*h%d", level)
		before = "<<: [" + strings.Repeat(alias+", ", 999) + alias + "]"
	}
	path := filepath.Join(t.TempDir(), "keyturn.yaml")
	write(t, path, b.String())
	_, err := Load(path)
	require.ErrorContains(t, err, "holds more than 200000 values once its anchors are followed")
}

func TestWarnings(t *testing.T) {
	setEnvironment(t)
	folder := t.TempDir()
	path := filepath.Join(folder, "keyturn.yaml")
	write(t, path, `listen: 0.0.0.0:9000
pools:
- name: one
  provider: compatible
  upstream: http://gateway.internal:8080
  keys:
  - {file: open.key}
  - {file: closed.key}
- provider: openai
  keys: [{file: open.key}, {env: KT_A}]
tools:
  servers:
  - name: plain
    url: http://mcp.internal/mcp
    headers: {x-team: docs}
  - {name: near, url: "http://127.0.0.1:8080/mcp", headers: {x-token: {env: KT_TOKEN}}}
  - name: far
    url: http://mcp.internal/mcp
    headers: {x-token: {file: open.key}}
envoy:
  clients: {jwt: {issuer: "https://login.example.com/", jwks_url: "https://login.example.com/jwks.json"}}
`)
	write(t, filepath.Join(folder, "open.key"), "hush-open\n")
	require.NoError(t, os.Chmod(filepath.Join(folder, "open.key"), 0o644))
	write(t, filepath.Join(folder, "closed.key"), "hush-closed\n")

	c, err := Load(path)
	require.NoError(t, err)
	readable := fmt.Sprintf("every user of this machine can read %s/open.key (mode 0644); set mode 0600, or defaultMode: 0400 of the Kubernetes volume", folder)
	require.Equal(t, []string{
		path + ":1: listen: 0.0.0.0:9000 is reachable from beyond this machine, and whoever reaches it can ask for keys; let only Envoy reach it, or write unix:PATH",
		path + ":5: pools[0].upstream: keys are sent to gateway.internal:8080 without encryption; write https, unless something on the way encrypts",
		path + ":7: pools[0].keys[0]: " + readable,
		path + ":9: pools[1]: holds the key of pools[0] (file " + folder + "/open.key) too (file " + folder + "/open.key); each pool lets it rest for itself",
		path + ":10: pools[1].keys[0]: " + readable,
		path + ":13: tools.servers[0]: no pool uses plain; write tools: {servers: [plain]} in one, or remove it",
		path + ":16: tools.servers[1]: no pool uses near; write tools: {servers: [near]} in one, or remove it",
		path + ":17: tools.servers[2]: no pool uses far; write tools: {servers: [far]} in one, or remove it",
		path + ":18: tools.servers[2].url: x-token is sent to mcp.internal without encryption; write https, unless something on the way encrypts",
		path + ":19: tools.servers[2].headers.x-token: " + readable,
		path + ":21: envoy.clients.jwt: a token that the issuer made for another service is accepted too; write audiences: [NAME]",
	}, c.Warnings)
}

// TestContentWarnings holds that one of the two settings without the other, with which nothing of what is said is kept, is told of.
func TestContentWarnings(t *testing.T) {
	setEnvironment(t)
	path := filepath.Join(t.TempDir(), "keyturn.yaml")
	for _, tc := range []struct{ record, pool, want string }{
		{"", "content: true", ":2: pools[0].content: nothing of what is said is kept, since record.content names nothing; write record.content: {prompts: true}"},
		{"record: off", "content: true", ":2: pools[0].content: nothing of what is said is kept, since record.content names nothing; write record.content: {prompts: true}"},
		{"record: {content: {prompts: true}}", "content: false", ":1: record.content.prompts: nothing of what is said is kept, since no pool has content: true"},
		{"record: {content: {prompts: true}}", "content: true", ""},
	} {
		write(t, path, tc.record+"\npools: [{provider: openai, keys: [{env: KT_A}], "+tc.pool+"}]\n")
		c, err := Load(path)
		require.NoError(t, err)
		if tc.want == "" {
			require.Empty(t, c.Warnings)
			continue
		}
		require.Equal(t, []string{path + tc.want}, c.Warnings)
	}
}

func TestPrintingShowsNoSecret(t *testing.T) {
	setEnvironment(t)
	c, err := Load("testdata/every-field.good.yaml")
	require.NoError(t, err)
	withClients, err := Load("testdata/key-sources.good.yaml")
	require.NoError(t, err)
	withTools, err := Load("testdata/tools.good.yaml")
	require.NoError(t, err)

	var b bytes.Buffer
	for _, v := range []any{
		c, *c, c.Admin, c.Pools, c.Pools[0], &c.Pools[0], c.Pools[0].Keys, c.Pools[0].Keys[0], &c.Pools[0].Keys[0],
		withClients.Envoy, withClients.Envoy.Clients, withClients.Envoy.Clients.APIKeys[0],
		withTools, withTools.Tools, &withTools.Tools, withTools.Tools.Servers[0], &withTools.Tools.Servers[1], withTools.Pools[0].Tools,
	} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x"} {
			fmt.Fprintf(&b, verb+"\n", v)
		}
		data, err := json.Marshal(v)
		require.NoError(t, err)
		b.Write(data)
		slog.New(slog.NewTextHandler(&b, nil)).Info("m", slog.Any("v", v))
		slog.New(slog.NewJSONHandler(&b, nil)).Info("m", slog.Any("v", v))
	}
	text := strings.ReplaceAll(b.String(), "org-hush", "") // a group, and no secret
	require.NotContains(t, text, marker)
	require.NotContains(t, text, fmt.Sprintf("%x", marker))
}

// TestExample loads the example of the repository, with the files and variables that it names.
func TestExample(t *testing.T) {
	example, err := os.ReadFile("../../keyturn.example.yaml")
	require.NoError(t, err)
	folder := t.TempDir()
	path := filepath.Join(folder, "keyturn.yaml")
	write(t, path, string(example))
	write(t, filepath.Join(folder, "secrets/openai-b"), "hush-b\n")
	write(t, filepath.Join(folder, "openai.keys"), "# more\nhush-c\nhush-d\n")
	write(t, filepath.Join(folder, "clients.keys"), "alice:hush-alice-0123456\n")
	t.Setenv("OPENAI_KEY_A", "hush-a")
	t.Setenv("DOCS_TOKEN", "hush-docs")

	c, err := Load(path)
	require.NoError(t, err)
	require.Empty(t, c.Warnings)
	require.Len(t, c.Pools[0].Keys, 4)

	// What the example calls a default is one.
	write(t, path, "pools: [{provider: openai, keys: [{env: OPENAI_KEY_A}], tools: {servers: [docs]}}]\n"+
		"tools: {servers: [{name: docs, url: \"https://mcp.example.com/mcp\", headers: {authorization: {env: DOCS_TOKEN}}, deny: []}]}\n")
	short, err := Load(path)
	require.NoError(t, err)
	require.Equal(t, map[string]string{"authorization": "Bearer hush-docs"}, c.Tools.Servers[0].Headers)
	p := &c.Pools[0]
	p.Keys, p.KeysFile, p.Policy.Rules, c.Envoy.Clients = short.Pools[0].Keys, "", nil, short.Envoy.Clients
	short.files, short.sum, short.secrets, short.settings = c.files, c.sum, c.secrets, c.settings
	require.Equal(t, short, c)
}

// TestUpstreamsOfProviders holds that every provider's base URL is one that a file could name.
func TestUpstreamsOfProviders(t *testing.T) {
	for _, p := range provider.All {
		if p.Upstream == "" {
			continue
		}
		u, err := url.Parse(p.Upstream)
		require.NoError(t, err)
		require.True(t, hasHost(u), p.Name)
		require.False(t, plaintext(u), p.Name)
	}
}

func TestWhatAMessageMayShow(t *testing.T) {
	for _, s := range []string{
		"sk-x", "SK-proj-1", "sk_live_1", "gsk_1", "Bearer abc", "AIzaSyA", "eyJhbGciOi", "xai-1", "ghp_1", "AKIA1234", "hf_1",
		"0123456789abcdef0123456789abcdef", "5f0c7e0a-1111-2222-3333-444455556666", "aB3-_aB3-_aB3-_aB3-_aB3-_aB3-_aB3",
		strings.Repeat("x", 32), "https://api.example.com/0123456789abcdef0123",
	} {
		require.True(t, looksSecret(s), s)
	}
	for _, s := range []string{
		"", "openai", "opnai", "OPENAI_KEY_A", "AZURE_OPENAI_KEY_PRODUCTION_ACCOUNT_2", "/run/secrets/openai-b", "unix:run/extproc.sock",
		"0.0.0.0:10000", "https://api.openai.com", "outbound|443||api.openai.com", "insufficient_quota", "keep_ratelimit_headers",
	} {
		require.False(t, looksSecret(s), s)
	}
	require.Equal(t, `"`+strings.Repeat("é ", 30)+`…"`, shown(strings.Repeat("é ", 40)))
}

func TestNearest(t *testing.T) {
	names := []string{"name", "keys", "keys_file", "clusters", "max_body", "revive_after"}
	for _, tc := range []struct{ in, want string }{
		{"clutsers", "clusters"},
		{"Clusters", "clusters"},
		{"max-body", "max_body"},
		{"maxBody", "max_body"},
		{"kyes", "keys"},
		{"key", "keys"},
		{"naem", "name"},
		{"reviveafter", "revive_after"},
		{"foo", ""},
		{"", ""},
		{"k", ""},
		{strings.Repeat("k", 1000), ""},
	} {
		got, _ := nearest(tc.in, names)
		require.Equal(t, tc.want, got, tc.in)
	}
}

func TestShortClientKeys(t *testing.T) {
	setEnvironment(t)
	folder := t.TempDir()
	path, keys := filepath.Join(folder, "keyturn.yaml"), filepath.Join(folder, "clients.keys")
	write(t, path, "pools: [{provider: openai, keys: [{env: KT_A}]}]\nenvoy: {clients: {api_keys_file: clients.keys}}\n")
	write(t, keys, "# two\nalice:hush-12345\nbob:hush-0123456789-1\n")
	c, err := Load(path)
	require.NoError(t, err)
	require.Equal(t, []string{keys + ":2: envoy.clients.api_keys_file: the key of alice has 10 characters, which whoever has time can guess; make one of 16 or more, as openssl rand -hex 24 does"}, c.Warnings)
	write(t, keys, "alice:hush-12\nhush-13\n")
	_, err = Load(path)
	for _, want := range []string{
		keys + ":1: envoy.clients.api_keys_file: the key of alice has 7 characters: whoever tries keys finds it; make one of 16 or more, as openssl rand -hex 24 does",
		keys + ":2: envoy.clients.api_keys_file: the key of client-2 has 7 characters",
	} {
		require.ErrorContains(t, err, want)
	}
}
