package config

import (
	"os"

	"go.yaml.in/yaml/v3"
)

// maxFileBytes is the largest configuration that is read.
const maxFileBytes = 1 << 20

type digest [32]byte

// Load reads the configuration at path, checks all of it, and resolves the keys. The error joins every problem in the order of the
// lines, each as "FILE:LINE: path: what was found; what to write instead"; none of them repeats a secret.
func Load(path string) (*Config, error) {
	c, r := load(path)
	if c == nil {
		return nil, join(r.problems)
	}
	return c, nil
}

// load returns nil for a configuration with problems, which r holds.
func load(path string) (*Config, *reader) {
	r := newReader(path, os.LookupEnv)
	data, _, trouble := r.open(path, maxFileBytes)
	if trouble != "" {
		r.refuse("", "%s", trouble)
		return nil, r
	}
	return r.read(data), r
}

// read returns nil when there are problems.
func (r *reader) read(data []byte) *Config {
	top := r.document(data)
	if top == nil {
		return nil
	}
	c := &Config{}
	r.value("", top, func(n *yaml.Node) { root().read(r, "", n, c) })
	if len(r.problems) > 0 {
		return nil
	}
	c.Path, c.files, c.secrets, c.settings = r.file, r.files, &r.secrets, r.effective()
	r.sum.Sum(c.sum[:0])
	for _, w := range inOrder(r.warnings) {
		c.Warnings = append(c.Warnings, w.Error())
	}
	return c
}
