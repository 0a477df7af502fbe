package kube

import (
	"bytes"
	"encoding/json"
	"flag"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

var update = flag.Bool("update", false, "write what is rendered into testdata")

// scenario is a file of testdata: settings, a configuration, and what is rendered from them.
type scenario struct {
	Settings
	src  Source
	want string

	archive *txtar.Archive
}

func scenarios(t *testing.T) map[string]scenario {
	t.Helper()
	files, err := filepath.Glob("testdata/*.txtar")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	all := map[string]scenario{}
	for _, f := range files {
		all[f] = readScenario(t, f)
	}
	return all
}

func readScenario(t *testing.T, file string) scenario {
	t.Helper()
	a, err := txtar.ParseFile(file)
	require.NoError(t, err)
	require.Len(t, a.Files, 3, file)
	require.Equal(t, "settings.json keyturn.yaml want.yaml", a.Files[0].Name+" "+a.Files[1].Name+" "+a.Files[2].Name, file)
	var read struct {
		Settings
		Destinations, Commands []string
		AdminPort              int
	}
	dec := json.NewDecoder(bytes.NewReader(a.Files[0].Data))
	dec.DisallowUnknownFields()
	require.NoError(t, dec.Decode(&read), file)
	s := scenario{Settings: read.Settings, want: string(a.Files[2].Data), archive: a}
	s.src = Source{YAML: a.Files[1].Data, AdminPort: read.AdminPort, Commands: read.Commands}
	for _, d := range read.Destinations {
		u, err := url.Parse(d)
		require.NoError(t, err, file)
		s.src.Destinations = append(s.src.Destinations, u)
	}
	return s
}

// TestRender holds each scenario equal to what stands in its file; test/kubernetes reads the same files with Kubernetes' own types.
func TestRender(t *testing.T) {
	for file, s := range scenarios(t) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			got, err := Render(s.src, s.Settings)
			require.NoError(t, err)
			if *update {
				s.archive.Files[2].Data = got
				require.NoError(t, os.WriteFile(file, txtar.Format(s.archive), 0o600))
				return
			}
			require.Equal(t, s.want, string(got), "run: go test ./internal/kube -update")
			again, err := Render(s.src, s.Settings)
			require.NoError(t, err)
			require.Equal(t, got, again, "not the same twice")
			require.NotContains(t, string(got), "<no value>")
		})
	}
}

// TestSecretsAreEmpty: whatever is rendered, no Secret has a value.
func TestSecretsAreEmpty(t *testing.T) {
	found := 0
	for file, s := range scenarios(t) {
		got, err := Render(s.src, s.Settings)
		require.NoError(t, err)
		for dec := yaml.NewDecoder(bytes.NewReader(got)); ; {
			var doc map[string]any
			if dec.Decode(&doc) != nil {
				break
			}
			if doc["kind"] == "Secret" {
				require.NotContains(t, doc, "data", file)
				require.NotContains(t, doc, "stringData", file)
				found++
			}
		}
	}
	require.NotZero(t, found)
}

// TestValues: the values for Helm, given to the templates, make what Render does, but for patches, which Helm cannot apply.
func TestValues(t *testing.T) {
	for file, s := range scenarios(t) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := Values(s.src, s.Settings)
			require.NoError(t, err)
			var v map[string]any
			require.NoError(t, yaml.Unmarshal(text, &v))
			require.NotContains(t, v, "patchDocument")
			v["patchDocument"] = s.Form == Patch || s.Form == Sidecar
			name := s.Name
			if name == "" {
				name = defaultName
			}
			got, err := execute(name, s.Namespace, v)
			require.NoError(t, err)
			want, err := Render(s.src, s.Settings)
			require.NoError(t, err)
			require.Equal(t, string(want), string(got))
		})
	}
}

// TestDefaults: a keyturn.yaml with one key is the chart's default.
func TestDefaults(t *testing.T) {
	s := readScenario(t, "testdata/gateway.txtar")
	got, err := values(s.src, s.Settings)
	require.NoError(t, err)
	want, err := defaults()
	require.NoError(t, err)
	require.Equal(t, want["config"], got["config"])
	gotText, err := marshal(got)
	require.NoError(t, err)
	wantText, err := marshal(want)
	require.NoError(t, err)
	require.Equal(t, string(wantText), string(gotText))
}

func TestSettings(t *testing.T) {
	good := func() (Source, Settings) {
		return Source{YAML: []byte("pools: []\n")}, Settings{Selector: map[string]string{"app": "a"}}
	}
	for _, tc := range []struct {
		name   string
		change func(*Source, *Settings)
		want   string
	}{
		{"a name in capitals", func(_ *Source, s *Settings) { s.Name = "Keyturn" }, `name: "Keyturn" must be lower-case letters, digits and -, at most 54 of them, begin with a letter and not end with -`},
		{"a long name", func(_ *Source, s *Settings) { s.Name = strings.Repeat("a", 55) }, "name: \"" + strings.Repeat("a", 55)},
		{"a namespace with a dot", func(_ *Source, s *Settings) { s.Namespace = "a.b" }, `namespace: "a.b" must be`},
		{"more lines", func(_ *Source, s *Settings) { s.Namespace = "a\nb: c" }, `namespace: "a\nb: c" must be`},
		{"no selector", func(_ *Source, s *Settings) { s.Form, s.Deployment, s.Selector = Patch, "d", nil }, "selector: the labels of the pods are needed, such as istio=llm-egress or app=agent"},
		{"a selector where there is none", func(_ *Source, s *Settings) { s.Form, s.Gateway = GatewayAPI, "g" }, "selector: the form gateway-api has none: the pods have their Gateway's name"},
		{"no label", func(_ *Source, s *Settings) { s.Selector["a b"] = "c" }, "selector: a b=c is not a label"},
		{"no Gateway", func(_ *Source, s *Settings) { s.Form, s.Selector = GatewayAPI, nil }, "gateway: the form gateway-api needs its name"},
		{"a Gateway where there is none", func(_ *Source, s *Settings) { s.Gateway = "g" }, "gateway: the form gateway has none"},
		{"no Deployment", func(_ *Source, s *Settings) { s.Form = Patch }, "deployment: the form patch needs its name"},
		{"a container that Istio names", func(_ *Source, s *Settings) { s.Form, s.Deployment, s.Container = Sidecar, "d", "c" }, "proxy container: the form sidecar has none"},
		{"a Secret of no name", func(_ *Source, s *Settings) { s.KeysIn = "A b" }, `keys secret: "A b" must be lower-case letters`},
		{"a port", func(_ *Source, s *Settings) { s.Port = 65536 }, "port: must be from 1 to 65535, not 65536"},
		{"a group", func(_ *Source, s *Settings) { s.Group = -1 }, "group: must be the number of a group, not -1"},
		{"an image", func(_ *Source, s *Settings) { s.Image = "a b" }, `image: "a b" is not the name of one; write such as registry.example.com/keyturn:1.0.0`},
		{"a program that the image lacks", func(src *Source, _ *Settings) { src.Commands = []string{"files"} }, "tools.servers files: a program, and the image of Keyturn holds nothing but Keyturn: name one that has it too, or reach the server by its url"},
		{"nothing of that kind", func(_ *Source, s *Settings) { s.Without = []string{"Secret"} }, `without "Secret": must be one of PodDisruptionBudget, NetworkPolicy, ServiceMonitor`},
		{"everything at once", func(_ *Source, s *Settings) { s.Port, s.Group = 70000, -2 }, "port: must be from 1 to 65535, not 70000\ngroup: must be the number of a group, not -2"},
		{"too large for a ConfigMap", func(src *Source, _ *Settings) {
			src.YAML = []byte("pools: []\nlog: {format: " + strings.Repeat("a", maxConfigBytes) + "}\n")
		}, "bytes, and a ConfigMap holds 1024000"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			src, s := good()
			_, err := Render(src, s)
			require.NoError(t, err)
			tc.change(&src, &s)
			_, err = Render(src, s)
			require.ErrorContains(t, err, tc.want)
			_, err = Values(src, s)
			require.ErrorContains(t, err, tc.want)
		})
	}
}

func TestParseForm(t *testing.T) {
	for f := Gateway; f <= Sidecar; f++ {
		got, err := ParseForm(f.String())
		require.NoError(t, err)
		require.Equal(t, f, got)
	}
	_, err := ParseForm("daemonset")
	require.EqualError(t, err, `form "daemonset": must be one of gateway, gateway-api, patch, sidecar`)
}
