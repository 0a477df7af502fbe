package kube

import (
	"cmp"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Where things are in the pod; the chart mounts the same.
const (
	socketFolder = "/run/keyturn"
	secretFolder = "/run/secrets/keyturn"
	adminToken   = "admin-token" // what the ServiceMonitor names
	adminPort    = 9420
)

// reference is a secret that the pod reads from a file, with where it is outside of the pod.
type reference struct {
	name      string // in its Secret, and of the file
	env, file string // where it is now; none of them: nowhere
	admin     bool   // it belongs to the Secret that Prometheus reads too
}

// value is r as the chart's values have it.
func (r reference) value() map[string]any {
	v := map[string]any{"secret": "keys", "name": r.name}
	if r.admin {
		v["secret"] = "admin"
	}
	// The names are absent, not empty, so that a reader sees where a secret comes from.
	if r.env != "" {
		v["env"] = r.env
	}
	if r.file != "" {
		v["file"] = r.file
	}
	return v
}

// podConfig is a keyturn.yaml as the pod reads it: sockets and secrets are where the pod has them, the admin endpoint listens on every
// address and has a token, and of envoy there is what Keyturn itself needs. What secrets it refers to is returned in their order.
// Comments are left out: nobody checked that they hold no key.
func podConfig(text []byte, port int) (string, []reference, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return "", nil, errors.New("the configuration cannot be parsed") // the parser's text could repeat a secret
	}
	if len(doc.Content) != 1 {
		return "", nil, errors.New("the configuration is empty")
	}
	budget := maxNodes
	top, err := plain(doc.Content[0], &budget)
	if err != nil {
		return "", nil, err
	}
	if top.Kind != yaml.MappingNode {
		return "", nil, errors.New("the configuration is not a mapping")
	}
	p := pod{names: map[string]bool{}, known: map[reference]string{}}
	p.rewrite(top, cmp.Or(port, adminPort))
	if err := errors.Join(p.errs...); err != nil {
		return "", nil, err
	}
	out, err := marshal(top)
	return string(out), p.refs, err
}

// pod collects the secrets of a configuration.
type pod struct {
	refs  []reference
	names map[string]bool      // taken
	known map[reference]string // the name of what is at a place; its key has no name
	errs  []error
}

func (p *pod) rewrite(top *yaml.Node, port int) {
	set(top, "listen", scalar("unix:"+path.Join(socketFolder, "extproc.sock")))
	p.secret(field(top, "fingerprint_secret"))
	admin := mapping(top, "admin")
	set(admin, "listen", scalar("0.0.0.0:"+strconv.Itoa(port)))
	p.adminToken(admin)
	for _, viewer := range items(field(admin, "viewers")) {
		p.secret(viewer)
	}
	p.secret(field(field(field(top, "record"), "postgres"), "url"))
	for _, pool := range items(field(top, "pools")) {
		for _, key := range items(field(pool, "keys")) {
			p.secret(key)
		}
		p.file(field(pool, "keys_file"))
	}
	for _, server := range items(field(field(top, "tools"), "servers")) {
		for _, values := range []string{"headers", "env"} {
			for _, v := range fields(field(server, values)) {
				p.secret(v)
			}
		}
		if command := items(field(server, "command")); len(command) > 0 {
			if c := command[0].Value; strings.Contains(c, "/") && !path.IsAbs(c) {
				p.errs = append(p.errs, fmt.Errorf("tools.servers: command: %q is relative to keyturn.yaml, and in the pod there is nothing beside it: write where the image has it", c))
			}
		}
	}
	// The rest of envoy is for Envoy and for the commands that render it. Keyturn must know the keys of its clients, which are none of
	// the provider's, and what can be sent again.
	envoy := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	if keys := field(field(field(top, "envoy"), "clients"), "api_keys_file"); keys != nil {
		p.file(keys)
		clients := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
		set(clients, "api_keys_file", keys)
		set(envoy, "clients", clients)
	}
	if limit := field(field(top, "envoy"), "max_request_bytes"); limit != nil {
		set(envoy, "max_request_bytes", limit)
	}
	set(envoy, "loopback", scalar("unix:"+path.Join(socketFolder, "loopback.sock")))
	set(top, "envoy", envoy)
}

// adminToken makes the token a file of its own name, wherever it was.
func (p *pod) adminToken(admin *yaml.Node) {
	token := field(admin, "token")
	r := reference{name: adminToken, admin: true, env: text(field(token, "env")), file: text(field(token, "file"))}
	p.check(r)
	p.names[adminToken] = true
	p.refs = append(p.refs, r)
	to := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Style: yaml.FlowStyle}
	set(to, "file", scalar(path.Join(secretFolder, adminToken)))
	set(admin, "token", to)
}

// secret makes {env: NAME} and {file: PATH} a file of the pod, keeping the mapping's other fields. A text is no secret.
func (p *pod) secret(n *yaml.Node) {
	if n == nil || n.Kind != yaml.MappingNode {
		return
	}
	for i := 0; i < len(n.Content); i += 2 {
		key, v := n.Content[i], n.Content[i+1]
		switch key.Value {
		case "env":
			key.Value = "file"
			*v = *scalar(p.place(reference{env: v.Value}))
		case "file":
			*v = *scalar(p.place(reference{file: v.Value}))
		}
	}
}

// file makes a path that of a file of the pod.
func (p *pod) file(n *yaml.Node) {
	if n != nil && n.Value != "" {
		*n = *scalar(p.place(reference{file: n.Value}))
	}
}

var (
	envName  = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	filePath = regexp.MustCompile(`^[^'\x00-\x1f\x7f]+$`) // that can stand in quotes in a shell's command
)

var notInKey = regexp.MustCompile(`[^A-Za-z0-9._-]+`) // of a Secret

// maxKeyBytes is how long the name of a Secret's entry may be.
const maxKeyBytes = 253

// place is where the pod has what is at from; what is at one place outside is one file.
func (p *pod) place(from reference) string {
	if name, ok := p.known[from]; ok {
		return path.Join(secretFolder, name)
	}
	p.check(from)
	base := cmp.Or(strings.TrimLeft(notInKey.ReplaceAllString(cmp.Or(from.env, path.Base(from.file)), "-"), "."), "secret")
	base = base[:min(len(base), maxKeyBytes-10)]
	name := base
	for n := 2; p.names[name]; n++ {
		name = base + "-" + strconv.Itoa(n)
	}
	p.names[name], p.known[from] = true, name
	r := from
	r.name = name
	p.refs = append(p.refs, r)
	return path.Join(secretFolder, name)
}

// check refuses what could not stand in the command that fills a Secret.
func (p *pod) check(r reference) {
	switch {
	case r.env != "" && !envName.MatchString(r.env):
		p.errs = append(p.errs, errors.New("an env: is not the name of an environment variable"))
	case r.file != "" && !filePath.MatchString(r.file):
		p.errs = append(p.errs, fmt.Errorf("the file %q has a quote or a control character in its name, with which no shell's command can be written: give it another", r.file))
	}
}

// maxNodes bounds what aliases expand to.
const maxNodes = 1 << 17

// plain is a copy without comments, anchors, aliases and merged fields.
func plain(n *yaml.Node, budget *int) (*yaml.Node, error) {
	if *budget--; *budget < 0 {
		return nil, errors.New("the configuration's aliases expand to too much")
	}
	if n.Kind == yaml.AliasNode {
		return plain(n.Alias, budget)
	}
	out := &yaml.Node{Kind: n.Kind, Tag: n.Tag, Value: n.Value, Style: n.Style}
	if n.Kind != yaml.MappingNode {
		for _, c := range n.Content {
			c, err := plain(c, budget)
			if err != nil {
				return nil, err
			}
			out.Content = append(out.Content, c)
		}
		return out, nil
	}
	var merged []*yaml.Node // what "<<" brings along
	for i := 0; i < len(n.Content); i += 2 {
		v, err := plain(n.Content[i+1], budget)
		if err != nil {
			return nil, err
		}
		switch {
		case n.Content[i].Tag != "!!merge":
			set(out, n.Content[i].Value, v)
		case v.Kind == yaml.SequenceNode:
			merged = append(merged, v.Content...)
		default:
			merged = append(merged, v)
		}
	}
	for _, m := range merged { // a field that is given itself wins, then the earlier one
		for i := 0; i+1 < len(m.Content); i += 2 {
			if field(out, m.Content[i].Value) == nil {
				set(out, m.Content[i].Value, m.Content[i+1])
			}
		}
	}
	return out, nil
}

func scalar(s string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s} }

// text is a scalar's, "" of anything else.
func text(n *yaml.Node) string {
	if n == nil || n.Kind != yaml.ScalarNode {
		return ""
	}
	return n.Value
}

// field is a mapping's value, nil when there is none.
func field(n *yaml.Node, name string) *yaml.Node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i < len(n.Content); i += 2 {
		if n.Content[i].Value == name {
			return n.Content[i+1]
		}
	}
	return nil
}

// fields are a mapping's values.
func fields(n *yaml.Node) (values []*yaml.Node) {
	if n != nil && n.Kind == yaml.MappingNode {
		for i := 0; i < len(n.Content); i += 2 {
			values = append(values, n.Content[i+1])
		}
	}
	return values
}

// items are a sequence's values.
func items(n *yaml.Node) []*yaml.Node {
	if n == nil || n.Kind != yaml.SequenceNode {
		return nil
	}
	return slices.Clone(n.Content)
}

// mapping is a mapping's field that is a mapping, made when missing.
func mapping(n *yaml.Node, name string) *yaml.Node {
	if m := field(n, name); m != nil && m.Kind == yaml.MappingNode {
		return m
	}
	m := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	set(n, name, m)
	return m
}

// set puts a field into a mapping, in its place or at the end.
func set(n *yaml.Node, name string, v *yaml.Node) {
	for i := 0; i < len(n.Content); i += 2 {
		if n.Content[i].Value == name {
			n.Content[i+1] = v
			return
		}
	}
	n.Content = append(n.Content, scalar(name), v)
}
