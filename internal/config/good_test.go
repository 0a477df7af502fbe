package config

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

var update = flag.Bool("update", false, "write the golden files")

// golden compares got with the file, or writes it.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(want), got, "go test -update writes it")
}

// TestGood compares each testdata/*.good.yaml, resolved, with its golden file.
func TestGood(t *testing.T) {
	setEnvironment(t)
	schema, err := parsedSchema()
	require.NoError(t, err)
	for _, file := range files(t, ".good.yaml") {
		name := strings.TrimSuffix(file, ".good.yaml")
		t.Run(filepath.Base(name), func(t *testing.T) {
			c, err := Load(file)
			require.NoError(t, err)
			require.Equal(t, file, c.Path)
			var b strings.Builder
			dump(&b, "", reflect.ValueOf(*c))
			fmt.Fprintf(&b, "Files() = %q\n", c.Files())
			golden(t, name+".golden", b.String())

			var tree any
			data, err := os.ReadFile(file)
			require.NoError(t, err)
			require.NoError(t, yaml.Unmarshal(data, &tree))
			require.NoError(t, violates(schema, tree, ""))
		})
	}
}

// dump writes a line for each value that is set. Secrets are shown: those of testdata are none. Warnings are left out, since they
// depend on the modes that a checkout gave the files.
func dump(b *strings.Builder, path string, v reflect.Value) {
	if !v.IsValid() || v.IsZero() || path == "Warnings" {
		return
	}
	if s, ok := v.Interface().(fmt.Stringer); ok {
		fmt.Fprintf(b, "%s = %v\n", path, s)
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		dump(b, path, v.Elem())
	case reflect.Slice:
		for i := range v.Len() {
			dump(b, fmt.Sprintf("%s[%d]", path, i), v.Index(i))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() {
				dump(b, within(path, f.Name), v.Field(i))
			}
		}
	case reflect.String:
		fmt.Fprintf(b, "%s = %q\n", path, v)
	default:
		fmt.Fprintf(b, "%s = %v\n", path, v)
	}
}
