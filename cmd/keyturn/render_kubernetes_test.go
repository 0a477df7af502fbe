package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/keyturn/keyturn/internal/config"
	"github.com/keyturn/keyturn/internal/kube"
)

// outside is a configuration with everything that can refer to a secret; the files are beside it.
const outside = `
fingerprint_secret: {env: KT_FINGERPRINT}
admin: {listen: 127.0.0.1:9500, token: {env: KT_TOKEN}}
pools:
- provider: openai
  keys:
  - {name: a, env: KT_A, group: org1}
  - {name: b, file: one/key}
  - {file: two/key}
  keys_file: more.keys
  tools: {servers: [docs, files]}
- provider: anthropic
  keys: [{env: KT_B}]
tools:
  servers:
  - name: docs
    url: https://mcp.example.com/mcp
    headers: {authorization: {env: KT_DOCS}, x-team: platform, x-region: {file: region}}
  - name: files
    command: [/usr/bin/files]
    env: {REGION: eu, FILES_TOKEN: {file: files}}
envoy:
  listen: 0.0.0.0:8080
  clients: {api_keys_file: clients.keys}
`

// TestPodReadsTheSame: the configuration that the pod gets, with the Secrets filled as their comments say, is the one outside, but for
// where Keyturn listens and for what is Envoy's alone.
func TestPodReadsTheSame(t *testing.T) {
	dir := t.TempDir()
	for name, value := range map[string]string{
		"KT_FINGERPRINT": "fingerprint-fingerprint", "KT_TOKEN": "token-token-token", "KT_A": "sk-a-0000000000000001", "KT_B": "sk-b-0000000000000002", "KT_DOCS": "docs-token",
	} {
		t.Setenv(name, value)
	}
	for name, data := range map[string]string{
		"keyturn.yaml": outside, "one/key": "sk-c-0000000000000003\n", "two/key": "sk-d-0000000000000004", "more.keys": "sk-e-0000000000000005\nsk-f-0000000000000006\n",
		"region": "eu-1", "files": "files-token", "clients.keys": "app:client-key-000000001\n",
	} {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(data), 0o600))
	}
	want, err := config.Load(filepath.Join(dir, "keyturn.yaml"))
	require.NoError(t, err)
	src, err := kubeSource(want)
	require.NoError(t, err)
	require.Equal(t, 9500, src.AdminPort)
	require.Equal(t, []string{"files"}, src.Commands)
	require.Len(t, src.Destinations, 3)
	settings := kube.Settings{Namespace: "llm", Image: "keyturn-files:1"}
	stream, err := kube.Render(src, settings)
	require.NoError(t, err)

	pod := t.TempDir()
	fill(t, string(stream), dir, pod)
	text, err := kube.Values(src, settings)
	require.NoError(t, err)
	var values struct{ Config string }
	require.NoError(t, yaml.Unmarshal(text, &values))
	inside := strings.ReplaceAll(values.Config, "/run/secrets/keyturn/", pod+"/")
	require.NoError(t, os.WriteFile(filepath.Join(pod, "keyturn.yaml"), []byte(inside), 0o600))
	got, err := config.Load(filepath.Join(pod, "keyturn.yaml"))
	require.NoError(t, err)

	require.Equal(t, "unix:/run/keyturn/extproc.sock", got.Listen)
	require.Equal(t, "unix:/run/keyturn/loopback.sock", got.Envoy.Loopback)
	require.Equal(t, config.Admin{Listen: "0.0.0.0:9500", Token: "token-token-token"}, got.Admin)
	require.Equal(t, want.Fingerprint, got.Fingerprint)
	require.Equal(t, want.Tools, got.Tools)
	require.Equal(t, want.Envoy.Clients.APIKeys, got.Envoy.Clients.APIKeys)
	for _, c := range []*config.Config{want, got} { // where a secret was read is what differs
		for i := range c.Pools {
			c.Pools[i].KeysFile = ""
			for j := range c.Pools[i].Keys {
				c.Pools[i].Keys[j].From, c.Pools[i].Keys[j].Line = "", 0
			}
		}
	}
	require.Equal(t, want.Pools, got.Pools)
}

var fromFile = regexp.MustCompile(`--from-file=(\S+?)=(?:<\(printenv (\w+)|'(.+)')`)

// fill makes the files of the Secrets by the commands in their comments.
func fill(t *testing.T, stream, from, to string) {
	t.Helper()
	all := fromFile.FindAllStringSubmatch(stream, -1)
	require.Len(t, all, 11)
	for _, m := range all {
		name, data := m[1], os.Getenv(m[2])+"\n" // as printenv does
		if m[2] == "" {
			b, err := os.ReadFile(filepath.Join(from, m[3]))
			require.NoError(t, err)
			data = string(b)
		}
		require.NoError(t, os.WriteFile(filepath.Join(to, name), []byte(data), 0o600))
	}
}

// TestKubernetesDocument runs the commands of docs/kubernetes.md that are keyturn's, with the configuration that stands there.
func TestKubernetesDocument(t *testing.T) {
	b, err := os.ReadFile("../../docs/kubernetes.md")
	require.NoError(t, err)
	_, rest, ok := strings.Cut(string(b), "```yaml\n")
	require.True(t, ok)
	text, _, _ := strings.Cut(rest, "```")
	t.Chdir(t.TempDir())
	t.Setenv("OPENAI_KEY_A", "sk-a-0000000000000001")
	require.NoError(t, os.Mkdir("secrets", 0o700))
	require.NoError(t, os.WriteFile("secrets/openai-b", []byte("sk-b-0000000000000002"), 0o600))
	require.NoError(t, os.WriteFile("keyturn.yaml", []byte(text), 0o600))
	ran := 0
	for line := range strings.Lines(string(b)) {
		if !strings.HasPrefix(line, "keyturn render ") {
			continue
		}
		line, _, _ = strings.Cut(strings.TrimSpace(line), " | ")
		line, _, _ = strings.Cut(line, " > ")
		root := newRoot()
		root.SetArgs(strings.Fields(line)[1:])
		var out strings.Builder
		root.SetOut(&out)
		require.NoError(t, root.ExecuteContext(t.Context()), line)
		ran++
		if strings.Contains(line, "-o keyturn-k8s.yaml") { // the commands that fill the Secrets stand in both
			printed, err := os.ReadFile("keyturn-k8s.yaml")
			require.NoError(t, err)
			for _, m := range fromFile.FindAllString(string(printed), -1) {
				require.Contains(t, string(b), m)
			}
			require.Len(t, fromFile.FindAllString(string(printed), -1), 2)
		}
	}
	require.Equal(t, 6, ran)
}

// TestEverySecretIsMoved: the schema says where secrets can stand; a new place must be one that the pod's configuration moves.
func TestEverySecretIsMoved(t *testing.T) {
	var schema map[string]any
	require.NoError(t, yaml.Unmarshal(config.Schema(), &schema))
	var found []string
	findReferences(schema, "", &found)
	require.ElementsMatch(t, []string{
		"fingerprint_secret", "admin.token", "admin.viewers[]", "record.postgres.url", "pools[].keys[]", "tools.servers[].headers.*", "tools.servers[].env.*",
	}, found, "package kube has to know the place too")
}

// findReferences finds the places in a schema that take {env: NAME} or {file: PATH}.
func findReferences(schema map[string]any, path string, found *[]string) {
	properties, _ := schema["properties"].(map[string]any)
	if properties["env"] != nil && properties["file"] != nil {
		*found = append(*found, path)
		return
	}
	for name, of := range properties {
		findReferences(of.(map[string]any), strings.TrimPrefix(path+"."+name, "."), found)
	}
	if of, ok := schema["items"].(map[string]any); ok {
		findReferences(of, path+"[]", found)
	}
	for _, of := range []string{"additionalProperties", "patternProperties"} {
		below, _ := schema[of].(map[string]any)
		if of == "patternProperties" {
			for _, each := range below {
				findReferences(each.(map[string]any), path+".*", found)
			}
			continue
		}
		if below != nil {
			findReferences(below, path+".*", found)
		}
	}
	for _, each := range []string{"oneOf", "anyOf"} {
		all, _ := schema[each].([]any)
		for _, of := range all {
			findReferences(of.(map[string]any), path, found)
		}
	}
}
