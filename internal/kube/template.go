package kube

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path"
	"strings"
	"text/template"

	"go.yaml.in/yaml/v3"

	"github.com/keyturn/keyturn/charts"
)

// chart is where the chart is in charts.Keyturn.
const chart = "keyturn"

// documents are the chart's templates in the order in which they are printed and have to be applied.
var documents = []string{
	"secret.yaml", "configmap.yaml", "deployment.yaml", "poddisruptionbudget.yaml", "networkpolicy.yaml", "servicemonitor.yaml",
}

const header = `# Keyturn in Kubernetes, written by "keyturn render kubernetes". The comments say why; docs/kubernetes.md says how to go on.
---
`

// execute writes the documents with the values v.
func execute(name, namespace string, v map[string]any) ([]byte, error) {
	t := template.New(chart).Option("missingkey=zero")
	t.Funcs(functions(t))
	for _, file := range append([]string{"_helpers.tpl"}, documents...) {
		text, err := charts.Keyturn.ReadFile(path.Join(chart, "templates", file))
		if err != nil {
			return nil, fmt.Errorf("chart: %w", err)
		}
		if _, err := t.New(file).Parse(string(text)); err != nil {
			return nil, fmt.Errorf("chart: %w", err)
		}
	}
	data := map[string]any{"Values": v, "Release": map[string]any{"Name": name, "Namespace": namespace}}
	var out bytes.Buffer
	out.WriteString(header)
	for _, file := range documents {
		var b bytes.Buffer
		if err := t.ExecuteTemplate(&b, file, data); err != nil {
			return nil, fmt.Errorf("chart: %w", err)
		}
		text := strings.TrimPrefix(strings.TrimSpace(b.String()), "---\n")
		if text == "" {
			continue
		}
		if out.Len() > len(header) {
			out.WriteString("---\n")
		}
		out.WriteString(text + "\n")
	}
	return out.Bytes(), nil
}

// functions are those of Helm's that the chart's templates use, with Helm's meaning.
func functions(t *template.Template) template.FuncMap {
	return template.FuncMap{
		"include": func(name string, data any) (string, error) {
			var b strings.Builder
			err := t.ExecuteTemplate(&b, name, data)
			return b.String(), err
		},
		"nindent": func(n int, s string) string {
			pad := strings.Repeat(" ", n)
			return "\n" + pad + strings.ReplaceAll(s, "\n", "\n"+pad)
		},
		"trim":  strings.TrimSpace,
		"quote": func(v any) string { return fmt.Sprintf("%q", fmt.Sprint(v)) },
		"toJson": func(v any) (string, error) {
			b, err := json.Marshal(v)
			return string(b), err
		},
		"default": func(otherwise, s string) string {
			if s == "" {
				return otherwise
			}
			return s
		},
	}
}

// defaults are the chart's values.
func defaults() (map[string]any, error) {
	text, err := charts.Keyturn.ReadFile(path.Join(chart, "values.yaml"))
	if err != nil {
		return nil, fmt.Errorf("chart: %w", err)
	}
	var v map[string]any
	if err := yaml.Unmarshal(text, &v); err != nil {
		return nil, fmt.Errorf("chart: values.yaml: %w", err)
	}
	return v, nil
}

// marshal writes YAML with the fields of mappings in the order of their names.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return b.Bytes(), enc.Close()
}
