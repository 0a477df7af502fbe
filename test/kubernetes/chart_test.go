package kubernetes

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/stretchr/testify/require"
	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/v2/lint"
	"helm.sh/helm/v4/pkg/chart/v2/lint/support"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/yaml"

	"github.com/keyturn/keyturn/internal/kube"
)

var chart = filepath.Join(root, "charts/keyturn")

// install is what Helm renders for a release, by the template's name; it checks the values against the chart's schema.
func install(t *testing.T, name, namespace string, values map[string]any) (map[string]string, error) {
	t.Helper()
	c, err := loader.Load(chart)
	require.NoError(t, err)
	v, err := util.ToRenderValues(c, values, common.ReleaseOptions{Name: name, Namespace: namespace, Revision: 1, IsInstall: true}, nil)
	if err != nil {
		return nil, err
	}
	all, err := engine.Render(c, v)
	out := map[string]string{}
	for file, text := range all {
		out[strings.TrimPrefix(file, "keyturn/templates/")] = text
	}
	return out, err
}

// order is that of the documents in what keyturn prints.
var order = []string{"secret.yaml", "configmap.yaml", "deployment.yaml", "poddisruptionbudget.yaml", "networkpolicy.yaml", "servicemonitor.yaml"}

// stream joins Helm's documents as keyturn does.
func stream(t *testing.T, files map[string]string) string {
	t.Helper()
	for file := range files {
		require.Contains(t, append(order, "NOTES.txt"), file, "not printed by keyturn")
	}
	var out strings.Builder
	out.WriteString("# Keyturn in Kubernetes, written by \"keyturn render kubernetes\". The comments say why; docs/kubernetes.md says how to go on.\n")
	for _, file := range order {
		if text := strings.TrimPrefix(strings.TrimSpace(files[file]), "---\n"); text != "" {
			out.WriteString("---\n" + text + "\n")
		}
	}
	return out.String()
}

func TestLint(t *testing.T) {
	all := map[string]map[string]any{"default values": nil}
	for name, s := range scenarios(t) {
		all[name] = helmValues(t, s)
	}
	for name, values := range all {
		t.Run(name, func(t *testing.T) {
			for _, m := range lint.RunAll(chart, values, "llm").Messages {
				require.LessOrEqual(t, m.Severity, support.InfoSev, "%v", m)
				require.Contains(t, m.Err.Error(), "icon is recommended")
			}
		})
	}
}

// helmValues is what `keyturn render kubernetes --helm-values` prints.
func helmValues(t *testing.T, s scenario) map[string]any {
	t.Helper()
	text, err := kube.Values(s.src, s.Settings)
	require.NoError(t, err)
	var v map[string]any
	require.NoError(t, yaml.UnmarshalStrict(text, &v))
	return v
}

// TestDefaultValues: the chart without any value of one's own is, byte for byte, what keyturn prints for a keyturn.yaml with one key.
func TestDefaultValues(t *testing.T) {
	files, err := install(t, "llm-egress", "llm", nil)
	require.NoError(t, err)
	require.Equal(t, string(scenarios(t)["gateway"].want), stream(t, files))
}

// TestChart: the chart with the values that keyturn writes is what keyturn prints. Where that is a patch, which Helm cannot apply, the
// chart has it in a ConfigMap.
func TestChart(t *testing.T) {
	for name, s := range scenarios(t) {
		t.Run(name, func(t *testing.T) {
			release := s.Name
			if release == "" {
				release = "keyturn"
			}
			files, err := install(t, release, s.Namespace, helmValues(t, s))
			require.NoError(t, err)
			docs := decode(t, []byte(stream(t, files)))
			if s.Form == kube.Patch || s.Form == kube.Sidecar {
				var inMap []byte
				for _, d := range docs {
					require.NotEqual(t, "Deployment", d.GetObjectKind().GroupVersionKind().Kind)
					if m, ok := d.Object.(*corev1.ConfigMap); ok && m.Name == "keyturn-patch" {
						inMap = []byte(m.Data["deployment"])
					}
				}
				bare := patchOf(t, name, decode(t, s.want))
				_, bare, _ = bytes.Cut(bare, []byte("under patches:\n"))
				require.Equal(t, string(bare), string(inMap))
				v := helmValues(t, s)
				v["patchDocument"] = true
				files, err = install(t, release, s.Namespace, v)
				require.NoError(t, err)
			}
			require.Equal(t, string(s.want), stream(t, files))
		})
	}
}

func TestNotes(t *testing.T) {
	for name, want := range map[string]string{
		"gateway":     "OPENAI_KEY in llm-egress-keys",
		"gateway-api": "name: llm-gateway}}}",
		"patch":       "kubectl get configmap keyturn-patch -n llm",
		"sidecar":     "kubectl patch deployment NAME -n agents",
	} {
		t.Run(name, func(t *testing.T) {
			s := scenarios(t)[name]
			release := s.Name
			if release == "" {
				release = "keyturn"
			}
			files, err := install(t, release, s.Namespace, helmValues(t, s))
			require.NoError(t, err)
			require.Contains(t, files["NOTES.txt"], want)
			require.NotContains(t, files["NOTES.txt"], "no value")
			if s.KeysIn != "" && s.AdminIn != "" {
				require.NotContains(t, files["NOTES.txt"], "Fill the Secrets")
			}
		})
	}
}

// TestSchema: what would make resources that are wrong, or open, is refused.
func TestSchema(t *testing.T) {
	for _, tc := range []struct{ name, values, want string }{
		{"a typo", "imagePullPolcy: Always", "additional properties 'imagePullPolcy' not allowed"},
		{"a typo below", "networkPolicy: {ports: [443]}", "additional properties 'ports' not allowed"},
		{"a form", "form: daemonset", "'/form'"},
		{"everybody may use the keys", "networkPolicy: {clients: []}", "'/networkPolicy/clients'"},
		{"a peer that is everybody", "networkPolicy: {metrics: [{}]}", "'/networkPolicy/metrics/0'"},
		{"no time to end", "terminationGracePeriodSeconds: 30", "'/terminationGracePeriodSeconds'"},
		{"nobody's pods", "form: sidecar", "'/selector'"},
		{"root", "user: 0", "'/user'"},
		{"no image", `image: ""`, "'/image'"},
		{"no memory limit", "resources: {limits: {memory: null, cpu: 1}}", "'/resources/limits'"},
		{"no configuration", `config: ""`, "'/config'"},
		{"a port as text", `adminPort: "9420"`, "'/adminPort'"},
		{"a label", `selector: {app: "a b"}`, "'/selector/app'"},
		{"a shell's line", `secrets: {entries: [{secret: keys, name: a, file: "x\n#"}]}`, "'/secrets/entries/0/file'"},
		{"a shell's word", `secrets: {entries: [{secret: keys, name: a, file: "x'"}]}`, "'/secrets/entries/0/file'"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var v map[string]any
			require.NoError(t, yaml.Unmarshal([]byte(tc.values), &v))
			_, err := install(t, "keyturn", "llm", v)
			require.ErrorContains(t, err, tc.want)
		})
	}
}

// TestOwnValues: what a user may set and keyturn never does.
func TestOwnValues(t *testing.T) {
	files, err := install(t, "own", "llm", map[string]any{
		"readinessPath": "/readyz", "env": []any{map[string]any{"name": "OTEL_SERVICE_NAME", "value": "k: [1]"}},
		"serviceMonitor": map[string]any{"labels": map[string]any{"release": "prometheus"}},
		"networkPolicy":  map[string]any{"egress": []any{map[string]any{"ports": []any{map[string]any{"port": 4317}}}}},
		"secrets":        map[string]any{"keys": "mine", "admin": "token"},
	})
	require.NoError(t, err)
	docs := decode(t, []byte(stream(t, files)))
	for _, d := range docs {
		require.NotEqual(t, "Secret", d.GetObjectKind().GroupVersionKind().Kind)
	}
	d := find[*appsv1.Deployment](t, docs)
	c := keyturn(t, d)
	require.Equal(t, "/readyz", c.ReadinessProbe.HTTPGet.Path)
	require.Contains(t, c.Env, corev1.EnvVar{Name: "OTEL_SERVICE_NAME", Value: "k: [1]"})
	sources := d.Spec.Template.Spec.Volumes[2].Projected.Sources
	require.Equal(t, "mine token", sources[0].Secret.Name+" "+sources[1].Secret.Name)
	m := find[*monitoringv1.ServiceMonitor](t, docs)
	require.Equal(t, "prometheus", m.Labels["release"])
	require.Equal(t, "token", m.Spec.Endpoints[0].Authorization.Credentials.Name)
	egress := find[*networkingv1.NetworkPolicy](t, docs).Spec.Egress
	require.Equal(t, int32(4317), egress[len(egress)-1].Ports[0].Port.IntVal)
}
