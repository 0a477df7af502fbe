package istio

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// documents are the resources of a YAML stream.
func documents(t *testing.T, stream string) []map[string]any {
	t.Helper()
	var all []map[string]any
	for _, text := range strings.Split("\n"+stream, "\n---") {
		var d map[string]any
		require.NoError(t, yaml.Unmarshal([]byte(text), &d), text)
		if d != nil {
			all = append(all, d)
		}
	}
	return all
}

// kind is a resource's.
func kind(d map[string]any) string { k, _ := d["kind"].(string); return k }

// stream writes resources as one YAML stream.
func stream(t *testing.T, all []map[string]any) string {
	t.Helper()
	var b strings.Builder
	for _, d := range all {
		text, err := yaml.Marshal(d)
		require.NoError(t, err)
		b.WriteString("---\n" + string(text))
	}
	return b.String()
}

// split tells Istio's own resources from those of Kubernetes, which the discovery server takes apart from them.
func split(t *testing.T, all string) (istio, kubernetes string) {
	t.Helper()
	var ours, theirs []map[string]any
	for _, d := range documents(t, all) {
		if version, _ := d["apiVersion"].(string); strings.Contains(version, ".istio.io/") {
			ours = append(ours, d)
		} else {
			theirs = append(theirs, d)
		}
	}
	return stream(t, ours), stream(t, theirs)
}

func join(parts ...string) string { return strings.Join(parts, "\n---\n") }
