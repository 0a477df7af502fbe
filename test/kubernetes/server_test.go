package kubernetes

import (
	"cmp"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	apps "k8s.io/kubernetes/pkg/apis/apps/install"
	coreapi "k8s.io/kubernetes/pkg/apis/core"
	core "k8s.io/kubernetes/pkg/apis/core/install"
	networking "k8s.io/kubernetes/pkg/apis/networking/install"
	policy "k8s.io/kubernetes/pkg/apis/policy/install"
	"k8s.io/kubernetes/pkg/registry/apps/deployment"
	"k8s.io/kubernetes/pkg/registry/core/configmap"
	"k8s.io/kubernetes/pkg/registry/core/secret"
	"k8s.io/kubernetes/pkg/registry/core/service"
	"k8s.io/kubernetes/pkg/registry/core/serviceaccount"
	"k8s.io/kubernetes/pkg/registry/networking/networkpolicy"
	"k8s.io/kubernetes/pkg/registry/policy/poddisruptionbudget"
	"k8s.io/pod-security-admission/api"
	security "k8s.io/pod-security-admission/policy"
)

// strategies are how the API server makes defaults for, and judges, what is created. A ServiceMonitor is judged by its schema alone.
var strategies = map[string]rest.RESTCreateStrategy{
	"Deployment": deployment.Strategy, "ConfigMap": configmap.Strategy, "Secret": secret.Strategy, "Service": service.Strategy,
	"ServiceAccount": serviceaccount.Strategy, "NetworkPolicy": networkpolicy.Strategy, "PodDisruptionBudget": poddisruptionbudget.Strategy,
}

// server is the API server's scheme.
func server() *runtime.Scheme {
	s := legacyscheme.Scheme
	for _, install := range []func(*runtime.Scheme){apps.Install, core.Install, networking.Install, policy.Install} {
		install(s)
	}
	return s
}

// judge creates an object as the API server does, short of storing it, and returns what it complains about.
func judge(t *testing.T, o runtime.Object) []string {
	t.Helper()
	s := server()
	kind := o.GetObjectKind().GroupVersionKind()
	strategy, ok := strategies[kind.Kind]
	require.True(t, ok, kind.Kind)
	o = o.DeepCopyObject()
	s.Default(o)
	internal, err := s.ConvertToVersion(o, schema.GroupVersion{Group: kind.Group, Version: runtime.APIVersionInternal})
	require.NoError(t, err)
	if svc, ok := internal.(*coreapi.Service); ok { // between making defaults and judging, the server gives it addresses
		address := cmp.Or(svc.Spec.ClusterIP, "10.96.0.10")
		svc.Spec.ClusterIP, svc.Spec.ClusterIPs = address, []string{address}
	}
	ctx := request.WithNamespace(t.Context(), "llm")
	strategy.PrepareForCreate(ctx, internal)
	complaints := strategy.WarningsOnCreate(ctx, internal)
	for _, err := range strategy.Validate(ctx, internal) {
		complaints = append(complaints, err.Error())
	}
	return complaints
}

// TestServer: the API server's own code takes every document without a word, and every Deployment once it is patched.
func TestServer(t *testing.T) {
	for name, stream := range rendered(t) {
		t.Run(name, func(t *testing.T) {
			judged := 0
			for _, d := range decode(t, stream) {
				kind := d.GetObjectKind().GroupVersionKind().Kind
				if kind == "ServiceMonitor" || kind == "Deployment" && name != "gateway" {
					continue
				}
				require.Empty(t, judge(t, d.Object), kind)
				judged++
			}
			require.NotZero(t, judged)
			require.Empty(t, judge(t, deployments(t)[name]))
		})
	}
}

// TestServerRefuses: it is the real thing that judges.
func TestServerRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		spoil func(*appsv1.Deployment)
		want  string
	}{
		"a volume that is not there":   {func(d *appsv1.Deployment) { d.Spec.Template.Spec.Volumes = d.Spec.Template.Spec.Volumes[1:] }, "spec.template.spec.containers[0].volumeMounts[0].name: Not found: \"keyturn-sockets\""},
		"a probe of an init container": {func(d *appsv1.Deployment) { d.Spec.Template.Spec.InitContainers[0].RestartPolicy = nil }, "may not be set for init containers without restartPolicy=Always"},
		"other pods":                   {func(d *appsv1.Deployment) { d.Spec.Template.Labels = nil }, "`selector` does not match template `labels`"},
	} {
		t.Run(name, func(t *testing.T) {
			d := deployments(t)["gateway"]
			tc.spoil(d)
			found := judge(t, d)
			require.NotEmpty(t, found)
			require.Contains(t, found[0], tc.want)
		})
	}
}

// TestPodSecurity: Keyturn adds nothing to a pod that the level "restricted" would refuse, and the gateway's pod is such a pod whole.
func TestPodSecurity(t *testing.T) {
	evaluate, err := security.NewEvaluator(security.DefaultChecks(), nil)
	require.NoError(t, err)
	for name, d := range deployments(t) {
		t.Run(name, func(t *testing.T) {
			pod := d.Spec.Template.DeepCopy()
			if name != "gateway" { // the other containers are not ours
				pod.Spec.InitContainers, pod.Spec.Containers = nil, append(pod.Spec.Containers[:0:0], keyturn(t, d))
				pod.Spec.SecurityContext.Sysctls = nil
			}
			restricted := api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
			result := security.AggregateCheckResults(evaluate.EvaluatePod(restricted, &pod.ObjectMeta, &pod.Spec))
			require.True(t, result.Allowed, "%s", result.ForbiddenDetail())
			pod.Spec.Containers[0].SecurityContext.AllowPrivilegeEscalation = nil
			result = security.AggregateCheckResults(evaluate.EvaluatePod(restricted, &pod.ObjectMeta, &pod.Spec))
			require.False(t, result.Allowed)
		})
	}
}
