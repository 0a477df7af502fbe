package kube

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPodConfig(t *testing.T) {
	const rest = "listen: unix:/run/keyturn/extproc.sock\nadmin:\n  listen: 0.0.0.0:9420\n  token: {file: /run/secrets/keyturn/admin-token}\nenvoy:\n  loopback: unix:/run/keyturn/loopback.sock\n"
	token := reference{name: "admin-token", admin: true}
	for _, tc := range []struct {
		name, in, want string
		refs           []reference
	}{
		{
			"one place is one file, whoever refers to it", "pools: [{keys: [{env: K}, {name: b, env: K}, {file: K}]}]\n",
			"pools: [{keys: [{file: /run/secrets/keyturn/K}, {name: b, file: /run/secrets/keyturn/K}, {file: /run/secrets/keyturn/K-2}]}]\n" + rest,
			[]reference{token, {name: "K", env: "K"}, {name: "K-2", file: "K"}},
		},
		{
			"a file that has the token's name", "pools: [{keys_file: a/admin-token}]\n", "pools: [{keys_file: /run/secrets/keyturn/admin-token-2}]\n" + rest,
			[]reference{token, {name: "admin-token-2", file: "a/admin-token"}},
		},
		{
			"names that no Secret takes", "pools: [{keys: [{file: ../k e y/ä b}, {file: ..}]}]\n",
			"pools: [{keys: [{file: /run/secrets/keyturn/-b}, {file: /run/secrets/keyturn/secret}]}]\n" + rest,
			[]reference{token, {name: "-b", file: "../k e y/ä b"}, {name: "secret", file: ".."}},
		},
		{
			"a variable named file", "tools: {servers: [{env: {file: text, env: {env: X}}, headers: {a: b}}]}\n",
			"tools: {servers: [{env: {file: text, env: {file: /run/secrets/keyturn/X}}, headers: {a: b}}]}\n" + rest,
			[]reference{token, {name: "X", env: "X"}},
		},
		{"comments are nobody's business", "# sk-1\npools: [] # sk-2\n# sk-3\n", "pools: []\n" + rest, []reference{token}},
		{
			"of envoy, what Keyturn reads", "envoy: {clients: {api_keys_file: c.keys}, listen: 0.0.0.0:1, inner: unix:i, loopback: unix:x, max_request_bytes: 8MiB, access_log: \"off\"}\n",
			"envoy:\n  clients:\n    api_keys_file: /run/secrets/keyturn/c.keys\n  max_request_bytes: 8MiB\n  loopback: unix:/run/keyturn/loopback.sock\n" + strings.Split(rest, "envoy:")[0],
			[]reference{token, {name: "c.keys", file: "c.keys"}},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, refs, err := podConfig([]byte(tc.in), 0)
			require.NoError(t, err)
			require.Equal(t, tc.want, got)
			require.Equal(t, tc.refs, refs)
		})
	}
}

func TestBadPodConfig(t *testing.T) {
	var bomb strings.Builder
	bomb.WriteString("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n")
	for i := range 8 {
		n := string(rune('0' + i))
		bomb.WriteString("a" + string(rune('1'+i)) + ": &a" + string(rune('1'+i)) + " [" + strings.Repeat("*a"+n+", ", 9) + "*a" + n + "]\n")
	}
	for _, tc := range []struct{ name, in, want string }{
		{"nothing", "", "the configuration is empty"},
		{"a list", "- a\n", "the configuration is not a mapping"},
		{"no YAML", "a: [sk-secret\n", "the configuration cannot be parsed"},
		{"a bomb", bomb.String(), "the configuration's aliases expand to too much"},
		{"a file that ends a comment", "pools: [{keys_file: \"a\\nkind: Pod\"}]\n", `the file "a\nkind: Pod" has a quote or a control character in its name, with which no shell's command can be written: give it another`},
		{"a file that ends a quotation", "pools: [{keys: [{file: \"a';id'\"}]}]\n", `the file "a';id'" has a quote or a control character in its name, with which no shell's command can be written: give it another`},
		{"no variable", "admin: {token: {env: a b}}\n", "an env: is not the name of an environment variable"},
		{"a program beside the file", "tools: {servers: [{command: [./bin/x]}]}\n", `tools.servers: command: "./bin/x" is relative to keyturn.yaml, and in the pod there is nothing beside it: write where the image has it`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, _, err := podConfig([]byte(tc.in), 0)
			require.EqualError(t, err, tc.want)
		})
	}
}

// FuzzPodConfig: whatever YAML there is, the result is a configuration again, and the same after a second time but for names.
func FuzzPodConfig(f *testing.F) {
	f.Add("pools: [{keys: [{env: K}]}]\n")
	f.Add("a: &a {b: c}\nd: {<<: *a}\n")
	f.Add("? [a]\n: b\n<<: [{a: b}, c]\n")
	f.Fuzz(func(t *testing.T, in string) {
		got, _, err := podConfig([]byte(in), 0)
		if err != nil {
			return
		}
		again, _, err := podConfig([]byte(got), 0)
		require.NoError(t, err)
		require.Equal(t, got, again)
	})
}
