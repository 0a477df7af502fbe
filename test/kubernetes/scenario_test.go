package kubernetes

import (
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/kube"
)

// scenario is a file of internal/kube/testdata, with what is rendered there.
type scenario struct {
	kube.Settings
	src  kube.Source
	want []byte
}

func readScenario(t *testing.T, file string) scenario {
	t.Helper()
	a, err := txtar.ParseFile(file)
	require.NoError(t, err)
	require.Len(t, a.Files, 3, file)
	var read struct {
		kube.Settings
		Destinations, Commands []string
		AdminPort              int
	}
	require.NoError(t, json.Unmarshal(a.Files[0].Data, &read), file)
	s := scenario{Settings: read.Settings, want: a.Files[2].Data}
	s.src = kube.Source{YAML: a.Files[1].Data, AdminPort: read.AdminPort, Commands: read.Commands}
	for _, d := range read.Destinations {
		u, err := url.Parse(d)
		require.NoError(t, err, file)
		s.src.Destinations = append(s.src.Destinations, u)
	}
	return s
}

// scenarios are all files, by name.
func scenarios(t *testing.T) map[string]scenario {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, "internal/kube/testdata/*.txtar"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	all := map[string]scenario{}
	for _, f := range files {
		name := filepath.Base(f)
		all[name[:len(name)-len(".txtar")]] = readScenario(t, f)
	}
	return all
}

// rendered are the documents of all scenarios.
func rendered(t *testing.T) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	for name, s := range scenarios(t) {
		all[name] = s.want
	}
	return all
}

// write writes a file that everybody may read, and the folders above it.
func write(t *testing.T, file string, data string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
	require.NoError(t, os.WriteFile(file, []byte(data), 0o644))
}
