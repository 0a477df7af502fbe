// Package kube writes what Kubernetes needs to run Keyturn beside a proxy: it makes a keyturn.yaml fit for a pod, and executes the
// templates of the Helm chart.
package kube

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Form says where Keyturn runs.
type Form uint8

// The forms that Render knows.
const (
	// Gateway is an egress gateway of its own, whose proxy Istio's injector fills in.
	Gateway Form = iota
	// GatewayAPI is the Deployment that Istio makes for a Gateway of the Gateway API.
	GatewayAPI
	// Patch is a Deployment that has a proxy.
	Patch
	// Sidecar is an app's Deployment, whose proxy Istio injects.
	Sidecar
)

var formNames = []string{"gateway", "gateway-api", "patch", "sidecar"}

// String returns "gateway", "gateway-api", "patch" or "sidecar".
func (f Form) String() string { return formNames[f] }

// ParseForm reads what String returns.
func ParseForm(s string) (Form, error) {
	if i := slices.Index(formNames, s); i >= 0 {
		return Form(i), nil
	}
	return 0, fmt.Errorf("form %q: must be one of %s", s, strings.Join(formNames, ", "))
}

// UnmarshalText reads what String returns.
func (f *Form) UnmarshalText(b []byte) (err error) {
	*f, err = ParseForm(string(b))
	return err
}

// Settings are what a keyturn.yaml does not say. What is zero gets the chart's default.
type Settings struct {
	Form       Form
	Name       string            // of the resources, or what their names begin with; "" = keyturn
	Namespace  string            // of all resources; "" = default
	Selector   map[string]string // labels of the pods; required for Patch and Sidecar, none for GatewayAPI; none = istio: Name for Gateway
	Gateway    string            // the Gateway's name; for GatewayAPI alone, and required there
	Deployment string            // the name of the Deployment to patch; for Patch and Sidecar alone, and required there
	Image      string            // Keyturn's
	Port       uint32            // where the proxy listens for clients
	Group      int64             // that Keyturn and the proxy share for the sockets
	Container  string            // the proxy's; not for Sidecar, where Istio names it
	Plain      bool              // a plain container instead of a native sidecar
	KeysIn     string            // a Secret that exists and holds the keys; "" = an empty one is printed
	AdminIn    string            // a Secret that exists and holds the admin endpoint's token; "" = an empty one is printed
	Without    []string          // what is not printed: names of Optional
}

// Optional are the kinds of resources that Settings.Without may name.
var Optional = []string{"PodDisruptionBudget", "NetworkPolicy", "ServiceMonitor"}

// Source is a keyturn.yaml that was checked before.
type Source struct {
	// YAML is the file's text.
	YAML []byte
	// AdminPort is the port of admin.listen. Zero: the chart's.
	AdminPort int
	// Destinations are the URLs that the pod calls: the pools' upstreams, the MCP servers.
	Destinations []*url.URL
	// Commands are the names of MCP servers that are programs, which have to be in the image.
	Commands []string
}

const (
	defaultName = "keyturn"
	// maxNameBytes leaves room for what names end with: a Service's name has 63 bytes.
	maxNameBytes = 54
	// maxConfigBytes is what fits into a ConfigMap (1 MiB, with its other parts).
	maxConfigBytes = 1000 << 10
)

var (
	labelName  = regexp.MustCompile(`^[a-z]([a-z0-9-]*[a-z0-9])?$`)     // RFC 1035, as Services have it
	objectName = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$`) // RFC 1123
	labelKey   = regexp.MustCompile(`^([a-z0-9.-]+/)?[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$`)
	labelValue = regexp.MustCompile(`^([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?)?$`)
	imageName  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:/@-]*$`)
)

// Render returns the resources as a commented YAML stream, the same bytes for the same input. It holds no key: those are in Secrets
// that are printed empty, with the commands that fill them. The error joins every problem.
func Render(src Source, s Settings) ([]byte, error) {
	v, err := values(src, s)
	if err != nil {
		return nil, err
	}
	return execute(cmp.Or(s.Name, defaultName), cmp.Or(s.Namespace, "default"), v)
}

// Values returns the values with which the Helm chart says what Render does, as YAML.
func Values(src Source, s Settings) ([]byte, error) {
	v, err := values(src, s)
	if err != nil {
		return nil, err
	}
	delete(v, "patchDocument") // Helm cannot apply a patch
	return marshal(v)
}

// check finds what is wrong with the settings.
func (s *Settings) check(src Source) error {
	errs := slices.Concat(s.checkNames(), s.checkSelector())
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if s.Port > 65535 {
		bad("port: must be from 1 to 65535, not %d", s.Port)
	}
	if s.Group < 0 {
		bad("group: must be the number of a group, not %d", s.Group)
	}
	if s.Image != "" && !imageName.MatchString(s.Image) {
		bad("image: %q is not the name of one; write such as registry.example.com/keyturn:1.0.0", s.Image)
	}
	if s.Image == "" && len(src.Commands) > 0 {
		bad("tools.servers %s: a program, and the image of Keyturn holds nothing but Keyturn: name one that has it too, or reach the server by its url",
			strings.Join(src.Commands, ", "))
	}
	for _, w := range s.Without {
		if !slices.Contains(Optional, w) {
			bad("without %q: must be one of %s", w, strings.Join(Optional, ", "))
		}
	}
	return errors.Join(errs...)
}

// checkNames finds what is wrong with the names of resources and containers, some of which only some forms have.
func (s *Settings) checkNames() (errs []error) {
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	name, namespace := cmp.Or(s.Name, defaultName), cmp.Or(s.Namespace, "default")
	if !labelName.MatchString(name) || len(name) > maxNameBytes {
		bad("name: %q must be lower-case letters, digits and -, at most %d of them, begin with a letter and not end with -", name, maxNameBytes)
	}
	if !objectName.MatchString(namespace) || strings.Contains(namespace, ".") || len(namespace) > 63 {
		bad("namespace: %q must be lower-case letters, digits and -, at most 63 of them, and begin and end with a letter or digit", namespace)
	}
	for _, f := range []struct {
		field, value string
		forms        []Form
		required     bool
	}{
		{"gateway", s.Gateway, []Form{GatewayAPI}, true},
		{"deployment", s.Deployment, []Form{Patch, Sidecar}, true},
		{"proxy container", s.Container, []Form{Gateway, GatewayAPI, Patch}, false},
		{"keys secret", s.KeysIn, []Form{Gateway, GatewayAPI, Patch, Sidecar}, false},
		{"admin secret", s.AdminIn, []Form{Gateway, GatewayAPI, Patch, Sidecar}, false},
	} {
		takes := slices.Contains(f.forms, s.Form)
		switch {
		case f.value != "" && !takes:
			bad("%s: the form %s has none", f.field, s.Form)
		case f.value == "" && takes && f.required:
			bad("%s: the form %s needs its name", f.field, s.Form)
		case f.value != "" && (!objectName.MatchString(f.value) || len(f.value) > 253):
			bad("%s: %q must be lower-case letters, digits, - and ., and begin and end with a letter or digit", f.field, f.value)
		}
	}
	return errs
}

// checkSelector finds what is wrong with the labels of the pods.
func (s *Settings) checkSelector() (errs []error) {
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	switch {
	case s.Form == GatewayAPI && len(s.Selector) > 0:
		bad("selector: the form %s has none: the pods have their Gateway's name", s.Form)
	case (s.Form == Patch || s.Form == Sidecar) && len(s.Selector) == 0:
		bad("selector: the labels of the pods are needed, such as istio=llm-egress or app=agent")
	}
	for k, v := range s.Selector {
		if !labelKey.MatchString(k) || !labelValue.MatchString(v) || len(v) > 63 {
			bad("selector: %s=%s is not a label", k, v)
		}
	}
	return errs
}

// values are the chart's with what src and s say.
func values(src Source, s Settings) (map[string]any, error) {
	checked := s.check(src)
	config, refs, err := podConfig(src.YAML, src.AdminPort)
	if err == nil && len(config) > maxConfigBytes {
		err = fmt.Errorf("the configuration has %d bytes, and a ConfigMap holds %d", len(config), maxConfigBytes)
	}
	if err := errors.Join(checked, err); err != nil {
		return nil, err
	}
	v, err := defaults()
	if err != nil {
		return nil, err
	}
	v["form"] = s.Form.String()
	v["selector"] = labels(s)
	v["config"] = config
	entries := []any{}
	for _, r := range refs {
		entries = append(entries, r.value())
	}
	v["secrets"] = map[string]any{"keys": s.KeysIn, "admin": s.AdminIn, "entries": entries}
	v["nativeSidecar"] = !s.Plain
	v["deployment"] = s.Deployment
	v["patchDocument"] = s.Form == Patch || s.Form == Sidecar
	for _, set := range []struct {
		field string
		value any
		is    bool
	}{
		{"image", s.Image, s.Image != ""},
		{"group", s.Group, s.Group != 0},
		{"proxyContainer", s.Container, s.Container != ""},
		{"adminPort", src.AdminPort, src.AdminPort != 0},
	} {
		if set.is {
			v[set.field] = set.value
		}
	}
	if s.Port != 0 {
		v["gateway"].(map[string]any)["port"] = s.Port
	}
	for _, kind := range s.Without {
		v[strings.ToLower(kind[:1])+kind[1:]].(map[string]any)["create"] = false
	}
	policy := v["networkPolicy"].(map[string]any)
	policy["externalPorts"], policy["clusterPorts"] = ports(src.Destinations)
	return v, nil
}

// labels are those of the pods.
func labels(s Settings) map[string]any {
	out := map[string]any{}
	if s.Form == GatewayAPI {
		out["gateway.networking.k8s.io/gateway-name"] = s.Gateway
	}
	for k, v := range s.Selector {
		out[k] = v
	}
	return out
}

// ports are those of what is outside the cluster and of what is a Service of it, each once and in order.
func ports(to []*url.URL) (external, cluster []any) {
	outside, inside := []int{}, []int{}
	for _, u := range to {
		port := 80
		if u.Scheme == "https" {
			port = 443
		}
		if n, err := strconv.Atoi(u.Port()); err == nil {
			port = n
		}
		host := strings.TrimSuffix(u.Hostname(), ".")
		ip, notIP := netip.ParseAddr(host)
		switch {
		case ip.IsLoopback(), host == "localhost": // in the pod
		case notIP != nil && !strings.Contains(host, "."), strings.HasSuffix(host, ".svc"), strings.Contains(host, ".svc."), strings.HasSuffix(host, ".local"):
			inside = append(inside, port)
		default:
			outside = append(outside, port)
		}
	}
	return unique(outside), unique(inside)
}

func unique(ports []int) []any {
	slices.Sort(ports)
	out := []any{}
	for _, p := range slices.Compact(ports) {
		out = append(out, p)
	}
	return out
}
