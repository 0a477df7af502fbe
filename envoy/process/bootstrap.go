package process

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/keyturn/keyturn/envoy/internal/address"
	"go.yaml.in/yaml/v3"
)

// checkBootstrap finds what Start needs of a configuration, and what Envoy itself says badly: the admin address, and
// socket paths that are too long. The rest is Envoy's to judge.
func checkBootstrap(doc []byte) error {
	var root map[string]any
	if err := yaml.Unmarshal(doc, &root); err != nil {
		return fmt.Errorf("not YAML or JSON: %w", err)
	}
	if len(root) == 0 {
		return errors.New("it is empty")
	}
	admin, _ := root["admin"].(map[string]any)
	if admin["address"] == nil {
		return errors.New("no admin.address: without it nobody can tell when Envoy is ready, nor drain it; 127.0.0.1 with port 0 will do")
	}
	return errors.Join(checkPipes(root)...)
}

// hasInbound reports whether a listener of the configuration says that it is for what comes in.
func hasInbound(doc []byte) bool {
	var root struct {
		StaticResources struct {
			Listeners []struct {
				TrafficDirection string `yaml:"traffic_direction"`
			} `yaml:"listeners"`
		} `yaml:"static_resources"`
	}
	if err := yaml.Unmarshal(doc, &root); err != nil {
		return false
	}
	for _, l := range root.StaticResources.Listeners {
		if l.TrafficDirection == "INBOUND" {
			return true
		}
	}
	return false
}

// checkPipes reports every pipe.path, Envoy's Unix sockets, that the system cannot bind.
func checkPipes(node any) (problems []error) {
	switch v := node.(type) {
	case []any:
		for _, item := range v {
			problems = append(problems, checkPipes(item)...)
		}
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			item := v[name]
			if pipe, ok := item.(map[string]any); ok && name == "pipe" {
				if path, ok := pipe["path"].(string); ok && len(path) > address.MaxSocketPath {
					problems = append(problems, fmt.Errorf("socket path %q is %d bytes long, and the system allows %d: choose a shorter folder, "+
						"or a path relative to Envoy's working folder", path, len(path), address.MaxSocketPath))
				}
			}
			problems = append(problems, checkPipes(item)...)
		}
	}
	return problems
}
