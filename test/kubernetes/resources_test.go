package kubernetes

import (
	"encoding/json"
	"strconv"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/kubernetes/fake"
	"sigs.k8s.io/yaml"
)

// others are Deployments that get Keyturn: what stands there must still be there.
var others = map[string]string{
	"patch": `
apiVersion: apps/v1
kind: Deployment
metadata: {name: istio-egressgateway, namespace: llm}
spec:
  selector: {matchLabels: {app: istio-egressgateway, istio: egressgateway}}
  template:
    metadata: {labels: {app: istio-egressgateway, istio: egressgateway}}
    spec:
      serviceAccountName: istio-egressgateway
      securityContext: {sysctls: [{name: net.ipv4.ip_unprivileged_port_start, value: "0"}]}
      containers:
      - name: proxy
        image: docker.io/istio/proxyv2:1.30.0
        volumeMounts: [{name: istio-token, mountPath: /var/run/secrets/tokens}]
      - {name: other, image: "other:1"}
      volumes: [{name: istio-token, emptyDir: {}}]
`,
	"gateway-api": `
apiVersion: apps/v1
kind: Deployment
metadata: {name: llm-egress-istio, namespace: llm}
spec:
  selector: {matchLabels: {gateway.networking.k8s.io/gateway-name: llm-egress}}
  template:
    metadata: {labels: {gateway.networking.k8s.io/gateway-name: llm-egress}}
    spec:
      securityContext: {sysctls: [{name: net.ipv4.ip_unprivileged_port_start, value: "0"}]}
      containers:
      - name: istio-proxy
        image: docker.io/istio/proxyv2:1.30.0
        volumeMounts: [{name: istio-token, mountPath: /var/run/secrets/tokens}]
      volumes: [{name: istio-token, emptyDir: {}}]
`,
	"sidecar": `
apiVersion: apps/v1
kind: Deployment
metadata: {name: agent, namespace: agents}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}, annotations: {example.com/kept: "yes"}}
    spec:
      initContainers: [{name: migrate, image: "migrate:1"}]
      containers: [{name: agent, image: "agent:1"}]
`,
}

// deployments are those of each scenario as they run: whole, or patched as kubectl and Istio patch.
func deployments(t *testing.T) map[string]*appsv1.Deployment {
	t.Helper()
	all := map[string]*appsv1.Deployment{}
	for name, stream := range rendered(t) {
		docs := decode(t, stream)
		if name == "gateway" {
			all[name] = find[*appsv1.Deployment](t, docs)
			continue
		}
		require.Contains(t, others, name, "a Deployment to patch for %s", name)
		all[name] = patched(t, others[name], patchOf(t, name, docs))
	}
	return all
}

// patchOf is the patch among documents.
func patchOf(t *testing.T, name string, docs []document) []byte {
	t.Helper()
	for _, d := range docs {
		switch o := d.Object.(type) {
		case *appsv1.Deployment:
			return d.text
		case *corev1.ConfigMap:
			if o.Name == "llm-gateway" {
				text := []byte(o.Data["deployment"])
				require.NoError(t, yaml.UnmarshalStrict(text, &appsv1.Deployment{}))
				return text
			}
		}
	}
	require.Fail(t, "no patch", name)
	return nil
}

func patched(t *testing.T, original string, patch []byte) *appsv1.Deployment {
	t.Helper()
	before, err := yaml.YAMLToJSON([]byte(original))
	require.NoError(t, err)
	change, err := yaml.YAMLToJSON(patch)
	require.NoError(t, err)
	after, err := strategicpatch.StrategicMergePatch(before, change, appsv1.Deployment{})
	require.NoError(t, err)
	again, err := strategicpatch.StrategicMergePatch(after, change, appsv1.Deployment{})
	require.NoError(t, err)
	require.JSONEq(t, string(after), string(again), "applied twice")
	var d appsv1.Deployment
	require.NoError(t, json.Unmarshal(after, &d))
	return &d
}

// keyturn is the container, wherever it is.
func keyturn(t *testing.T, d *appsv1.Deployment) corev1.Container {
	t.Helper()
	var found []corev1.Container
	for _, c := range append(d.Spec.Template.Spec.InitContainers, d.Spec.Template.Spec.Containers...) {
		if c.Name == "keyturn" {
			found = append(found, c)
		}
	}
	require.Len(t, found, 1)
	return found[0]
}

func TestDecode(t *testing.T) {
	for name, stream := range rendered(t) {
		t.Run(name, func(t *testing.T) {
			docs := decode(t, stream)
			require.NotEmpty(t, docs)
			names := map[string]bool{}
			for _, d := range docs {
				m, ok := d.Object.(metav1.Object)
				require.True(t, ok)
				require.NotEmpty(t, m.GetNamespace())
				require.Empty(t, validation.IsDNS1123Subdomain(m.GetName()))
				for k, v := range m.GetLabels() {
					require.Empty(t, validation.IsQualifiedName(k))
					require.Empty(t, validation.IsValidLabelValue(v))
				}
				id := d.GetObjectKind().GroupVersionKind().Kind + " " + m.GetName()
				require.False(t, names[id], "%s twice", id)
				names[id] = true
			}
		})
	}
}

// TestPod: whatever the form, the pod is safe, complete, and has what the proxy needs.
func TestPod(t *testing.T) {
	for name, d := range deployments(t) {
		t.Run(name, func(t *testing.T) {
			pod := d.Spec.Template.Spec
			c := keyturn(t, d)
			s := c.SecurityContext
			require.Equal(t, int64(65532), *s.RunAsUser)
			require.True(t, *s.RunAsNonRoot)
			require.True(t, *s.ReadOnlyRootFilesystem)
			require.False(t, *s.AllowPrivilegeEscalation)
			require.Equal(t, []corev1.Capability{"ALL"}, s.Capabilities.Drop)
			require.Equal(t, corev1.SeccompProfileTypeRuntimeDefault, s.SeccompProfile.Type)
			require.NotZero(t, *pod.SecurityContext.FSGroup)
			require.Greater(t, *pod.TerminationGracePeriodSeconds, int64(30), "Keyturn takes up to 30 s to end")

			require.Empty(t, validation.IsValidPortName("keyturn-admin"))
			require.NotEmpty(t, c.Resources.Requests.Memory().String())
			require.False(t, c.Resources.Limits.Memory().IsZero(), "GOMEMLIMIT is made of it")
			require.True(t, c.Resources.Limits.Cpu().IsZero())
			for _, p := range []*corev1.Probe{c.StartupProbe, c.LivenessProbe, c.ReadinessProbe} {
				require.Equal(t, c.Ports[0].ContainerPort, p.HTTPGet.Port.IntVal)
				require.Equal(t, "/healthz", p.HTTPGet.Path)
			}

			volumes := map[string]corev1.Volume{}
			for _, v := range pod.Volumes {
				require.NotContains(t, volumes, v.Name)
				volumes[v.Name] = v
			}
			for _, m := range c.VolumeMounts {
				require.Contains(t, volumes, m.Name)
				require.Equal(t, m.Name != "keyturn-sockets", m.ReadOnly, m.Name)
				require.Empty(t, m.SubPath, "a subPath is not updated")
			}
			require.NotNil(t, volumes["keyturn-sockets"].EmptyDir)

			// Sockets are in the proxy and in nothing else.
			for _, other := range append(pod.InitContainers, pod.Containers...) {
				mounts := map[string]string{}
				for _, m := range other.VolumeMounts {
					mounts[m.Name] = m.MountPath
				}
				switch other.Name {
				case "keyturn":
				case "istio-proxy", "proxy":
					require.Equal(t, "/run/keyturn", mounts["keyturn-sockets"])
					require.NotContains(t, mounts, "keyturn-secrets")
					require.NotContains(t, mounts, "keyturn-config")
				default:
					require.NotContains(t, mounts, "keyturn-sockets")
				}
			}
		})
	}
}

// TestOrder: a native sidecar is an init container that restarts; a plain one waits before it stops.
func TestOrder(t *testing.T) {
	for name, d := range deployments(t) {
		t.Run(name, func(t *testing.T) {
			c := keyturn(t, d)
			if name == "patch" {
				require.Nil(t, c.RestartPolicy)
				require.NotNil(t, c.Lifecycle.PreStop.Sleep)
				require.Less(t, c.Lifecycle.PreStop.Sleep.Seconds+30, *d.Spec.Template.Spec.TerminationGracePeriodSeconds)
				return
			}
			require.Equal(t, corev1.ContainerRestartPolicyAlways, *c.RestartPolicy)
			require.Nil(t, c.Lifecycle)
		})
	}
}

// TestKept: a patch adds and takes nothing away.
func TestKept(t *testing.T) {
	all := deployments(t)
	p := all["patch"].Spec.Template.Spec
	require.Equal(t, "net.ipv4.ip_unprivileged_port_start", p.SecurityContext.Sysctls[0].Name)
	require.Equal(t, "istio-egressgateway", p.ServiceAccountName)
	require.ElementsMatch(t, []string{"proxy", "other", "keyturn"}, names(p.Containers))
	require.Len(t, p.Volumes, 4)
	for _, c := range p.Containers {
		if c.Name == "proxy" {
			require.Equal(t, "docker.io/istio/proxyv2:1.30.0", c.Image)
			require.Len(t, c.VolumeMounts, 2)
		}
	}
	api := all["gateway-api"].Spec.Template.Spec
	require.Equal(t, []string{"istio-proxy"}, names(api.Containers))
	require.Equal(t, []string{"keyturn"}, names(api.InitContainers))
	require.Len(t, api.Containers[0].VolumeMounts, 2)

	s := all["sidecar"].Spec.Template
	require.ElementsMatch(t, []string{"migrate", "keyturn"}, names(s.Spec.InitContainers))
	require.Equal(t, []string{"agent"}, names(s.Spec.Containers))
	require.Equal(t, "yes", s.Annotations["example.com/kept"])
	require.Equal(t, "9420", s.Annotations["traffic.sidecar.istio.io/excludeInboundPorts"])
	var mounts map[string]corev1.VolumeMount // as Istio's injector reads it
	require.NoError(t, json.Unmarshal([]byte(s.Annotations["sidecar.istio.io/userVolumeMount"]), &mounts))
	require.Equal(t, map[string]corev1.VolumeMount{"keyturn-sockets": {MountPath: "/run/keyturn"}}, mounts)
}

func names(cs []corev1.Container) (out []string) {
	for _, c := range cs {
		out = append(out, c.Name)
	}
	return out
}

// TestServerSideApply: the patch document with all others goes through a server-side apply as it is.
func TestServerSideApply(t *testing.T) {
	for _, name := range []string{"patch", "sidecar"} {
		t.Run(name, func(t *testing.T) {
			var before appsv1.Deployment
			require.NoError(t, yaml.UnmarshalStrict([]byte(others[name]), &before))
			patch, err := yaml.YAMLToJSON(patchOf(t, name, decode(t, rendered(t)[name])))
			require.NoError(t, err)
			api := fake.NewClientset().AppsV1().Deployments(before.Namespace)
			_, err = api.Create(t.Context(), &before, metav1.CreateOptions{FieldManager: "istio"})
			require.NoError(t, err)
			got, err := api.Patch(t.Context(), before.Name, "application/apply-patch+yaml", patch, metav1.PatchOptions{FieldManager: "kubectl"})
			require.NoError(t, err)
			want := patched(t, others[name], patch).Spec.Template.Spec
			spec := got.Spec.Template.Spec
			require.ElementsMatch(t, names(want.InitContainers), names(spec.InitContainers))
			require.ElementsMatch(t, names(want.Containers), names(spec.Containers))
			require.ElementsMatch(t, want.Volumes, spec.Volumes)
			require.Equal(t, want.SecurityContext, spec.SecurityContext)
			require.Equal(t, keyturn(t, patched(t, others[name], patch)), keyturn(t, got))
		})
	}
}

// TestSelectors: each resource that selects pods selects those of the Deployment.
func TestSelectors(t *testing.T) {
	selected := 0
	for name, stream := range rendered(t) {
		t.Run(name, func(t *testing.T) {
			docs := decode(t, stream)
			pods := labels.Set(deployments(t)[name].Spec.Template.Labels)
			var monitor *monitoringv1.ServiceMonitor
			for _, d := range docs {
				selector := labels.Nothing()
				var err error
				switch o := d.Object.(type) {
				case *corev1.Service:
					selector = labels.SelectorFromSet(o.Spec.Selector)
				case *policyv1.PodDisruptionBudget:
					selector, err = metav1.LabelSelectorAsSelector(o.Spec.Selector)
				case *networkingv1.NetworkPolicy:
					selector, err = metav1.LabelSelectorAsSelector(&o.Spec.PodSelector)
				case *monitoringv1.ServiceMonitor:
					monitor = o
					continue
				default:
					continue
				}
				require.NoError(t, err)
				require.False(t, selector.Empty())
				require.True(t, selector.Matches(pods), "%v does not select %v", selector, pods)
				selected++
			}
			if monitor != nil {
				testMonitor(t, monitor, docs, keyturn(t, deployments(t)[name]))
			}
		})
	}
	require.Greater(t, selected, 6)
}

// testMonitor: the ServiceMonitor finds one port, Keyturn's, and a token in a Secret that the pod reads too.
func testMonitor(t *testing.T, m *monitoringv1.ServiceMonitor, docs []document, c corev1.Container) {
	selector, err := metav1.LabelSelectorAsSelector(&m.Spec.Selector)
	require.NoError(t, err)
	e := m.Spec.Endpoints[0]
	var ports []intstr.IntOrString
	for _, d := range docs {
		if s, ok := d.Object.(*corev1.Service); ok && selector.Matches(labels.Set(s.Labels)) {
			for _, p := range s.Spec.Ports {
				if p.Name == e.Port {
					ports = append(ports, p.TargetPort)
				}
			}
		}
	}
	require.Equal(t, []intstr.IntOrString{intstr.FromInt32(c.Ports[0].ContainerPort)}, ports)
	require.Equal(t, "Bearer", e.Authorization.Type)
	require.Equal(t, "admin-token", e.Authorization.Credentials.Key)
	require.Equal(t, m.Name+"-admin", e.Authorization.Credentials.Name)
}

func TestNetworkPolicy(t *testing.T) {
	for name, want := range map[string]struct{ clients, egress []string }{
		"gateway": {[]string{"8080"}, []string{"53", "53", "15012", "443"}},
		"patch":   {[]string{"8443"}, []string{"53", "53", "15012", "443", "8443", "8000"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := find[*networkingv1.NetworkPolicy](t, decode(t, rendered(t)[name]))
			require.Len(t, p.Spec.PolicyTypes, 2)
			var egress []string
			for _, rule := range p.Spec.Egress {
				require.NotEmpty(t, rule.To, "no peer is everybody")
				for _, port := range rule.Ports {
					egress = append(egress, strconv.Itoa(int(port.Port.IntVal)))
				}
			}
			require.Equal(t, want.egress, egress)
			for _, rule := range p.Spec.Ingress {
				require.NotEmpty(t, rule.From, "no peer is everybody")
			}
			require.Equal(t, want.clients[0], p.Spec.Ingress[0].Ports[0].Port.String())
			require.Equal(t, "9420", p.Spec.Ingress[1].Ports[0].Port.String())
		})
	}
	for _, d := range decode(t, rendered(t)["sidecar"]) {
		require.NotContains(t, []string{"NetworkPolicy", "PodDisruptionBudget"}, d.GetObjectKind().GroupVersionKind().Kind, "an app's pods have their own")
	}
}
