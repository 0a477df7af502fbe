package kubernetes

import (
	"bufio"
	"bytes"
	"io"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

// root is the repository's folder.
const root = "../.."

// kinds are the types of all that is rendered.
var kinds = map[schema.GroupVersionKind]func() runtime.Object{
	corev1.SchemeGroupVersion.WithKind("Secret"):                func() runtime.Object { return &corev1.Secret{} },
	corev1.SchemeGroupVersion.WithKind("ConfigMap"):             func() runtime.Object { return &corev1.ConfigMap{} },
	corev1.SchemeGroupVersion.WithKind("Service"):               func() runtime.Object { return &corev1.Service{} },
	corev1.SchemeGroupVersion.WithKind("ServiceAccount"):        func() runtime.Object { return &corev1.ServiceAccount{} },
	appsv1.SchemeGroupVersion.WithKind("Deployment"):            func() runtime.Object { return &appsv1.Deployment{} },
	policyv1.SchemeGroupVersion.WithKind("PodDisruptionBudget"): func() runtime.Object { return &policyv1.PodDisruptionBudget{} },
	networkingv1.SchemeGroupVersion.WithKind("NetworkPolicy"):   func() runtime.Object { return &networkingv1.NetworkPolicy{} },
	monitoringv1.SchemeGroupVersion.WithKind("ServiceMonitor"):  func() runtime.Object { return &monitoringv1.ServiceMonitor{} },
}

// document is one of a YAML stream, as it is written and as Kubernetes reads it.
type document struct {
	text []byte
	runtime.Object
}

// decode reads a stream by Kubernetes' own types: a field that a type does not have is an error, and a field twice is too.
func decode(t *testing.T, stream []byte) (docs []document) {
	t.Helper()
	for r := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(stream))); ; {
		text, err := r.Read()
		if err == io.EOF {
			return docs
		}
		require.NoError(t, err)
		var head struct {
			APIVersion string `json:"apiVersion"`
			Kind       string `json:"kind"`
		}
		require.NoError(t, yaml.Unmarshal(text, &head))
		if head.Kind == "" && len(bytes.TrimSpace(text)) > 0 {
			var nothing any
			require.NoError(t, yaml.Unmarshal(text, &nothing))
			require.Nil(t, nothing, "%s", text)
			continue // a comment alone
		}
		gvk := schema.FromAPIVersionAndKind(head.APIVersion, head.Kind)
		fresh, ok := kinds[gvk]
		require.True(t, ok, "no type for %v", gvk)
		into := fresh()
		require.NoError(t, yaml.UnmarshalStrict(text, into), "%s", text)
		docs = append(docs, document{text, into})
	}
}

// find is the one document of a type.
func find[T runtime.Object](t *testing.T, docs []document) (found T) {
	t.Helper()
	n := 0
	for _, d := range docs {
		if o, ok := d.Object.(T); ok {
			found = o
			n++
		}
	}
	require.Equal(t, 1, n, "%T", found)
	return found
}
