package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn/envoy"
	"github.com/keyturn/keyturn/envoy/check"
	"github.com/keyturn/keyturn/internal/config"
)

// findings is how many things check found and has printed that make it fail.
type findings int

func (f findings) Error() string { return fmt.Sprintf("%d findings", int(f)) }

// severityFlag is how bad a finding about Envoy must be to make check fail.
type severityFlag struct{ check.Severity }

func (f *severityFlag) Set(s string) error { return f.UnmarshalText([]byte(s)) }
func (f *severityFlag) Type() string       { return "severity" }

// report is what check prints with --json.
type report struct {
	Config   []string        `json:"config"`   // what is wrong with the configuration, a line each
	Warnings []string        `json:"warnings"` // what works and should be known
	Envoy    []check.Finding `json:"envoy"`    // what Envoy's configuration lacks
}

func newCheck() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Check the configuration, and Envoy's",
		Long: "Checks keyturn.yaml, and with --envoy or --envoy-admin that an Envoy has every setting that Keyturn needs to keep it alive and\n" +
			"its keys in turn, and nothing that gives them away. A finding about Envoy leaks (a credential gets out, or somebody spends keys that are\n" +
			"not theirs), crashes (Envoy does, or requests fail or go out twice) or costs (speed, memory, some requests, clarity).\n" +
			"Exits with 0 when all is well, with 1 when something was found that is as bad as --severity says or worse, with 2 when the\n" +
			"command line is wrong. What is less bad is printed too.\n" +
			"With --fix it says how the file of --envoy is mended, as a diff, and --write does it: comments, order and all else stay.\n" +
			"With --istio the Envoy is the proxy of an Istio mesh, a sidecar or a gateway: --envoy is its config dump\n" +
			"(istioctl proxy-config all POD -o json), --envoy-admin its admin interface, which also tells whether it reaches Keyturn.\n" +
			"Without either it is asked at " + proxyAdmin + ", where every container of its pod finds it.",
		Args: usageArgs(cobra.NoArgs),
		Example: `  keyturn check
  keyturn check --envoy envoy.yaml
  keyturn check --envoy envoy.yaml --fix --write
  keyturn check --envoy-admin http://127.0.0.1:9901 --severity crashes
  istioctl proxy-config all deploy/llm-egress -o json > dump.json && keyturn check --istio --envoy dump.json
  kubectl exec deploy/llm-egress -c keyturn -- keyturn check -c /etc/keyturn/keyturn.yaml --istio`,
	}
	o := checkOptions{config: configFlag(cmd)}
	cmd.Flags().StringVar(&o.file, "envoy", "", "also check this Envoy configuration: a bootstrap or a config dump, YAML or JSON `file`")
	cmd.Flags().StringVar(&o.admin, "envoy-admin", "", "also check the running Envoy with this admin `URL`, or unix:PATH")
	cmd.Flags().BoolVar(&o.mesh, "istio", false, "the Envoy is the proxy of an Istio mesh")
	cmd.Flags().BoolVar(&o.json, "json", false, "print JSON")
	o.flags(cmd)
	cmd.Flags().Var(&o.least, "severity", "fail for findings about Envoy of this `severity` and worse: leaks, crashes or costs")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return o.check(cmd) }
	return cmd
}

// checkOptions are check's command line.
type checkOptions struct {
	config *string
	source
	json  bool
	least severityFlag
	fixOptions
}

// understood is a usageError where the command line says what excludes each other.
func (o *checkOptions) understood() error {
	if o.file != "" && o.admin != "" {
		return usageError{errors.New("--envoy and --envoy-admin exclude each other")}
	}
	if o.fix && (o.file == "" || o.mesh || o.json) || !o.fix && (o.write || o.yes) {
		return usageError{errors.New("--fix mends the file of --envoy, without --istio and --json; --write and --yes go with it")}
	}
	return nil
}

// check prints what is found. The error is how much of it makes the command fail, or why nothing could be found.
func (o *checkOptions) check(cmd *cobra.Command) error {
	if err := o.understood(); err != nil {
		return err
	}
	if o.fix {
		cfg, err := config.Load(*o.config)
		if err != nil {
			return err
		}
		return o.mend(cmd, o.file, wanted(cfg.EnvoyConfig()), o.least.Severity)
	}
	r := report{Config: []string{}, Warnings: []string{}, Envoy: []check.Finding{}}
	cfg, err := config.Load(*o.config)
	if err != nil {
		r.Config = strings.Split(err.Error(), "\n")
	} else {
		r.Warnings = append(r.Warnings, cfg.Warnings...)
	}
	if o.mesh && o.file == "" && o.admin == "" {
		o.admin = proxyAdmin
	}
	if o.file != "" || o.admin != "" {
		var want check.Want
		if cfg != nil {
			want = wanted(cfg.EnvoyConfig())
		}
		found, err := checkEnvoy(cmd.Context(), o.source, want)
		if err != nil {
			return err
		}
		r.Envoy = append(r.Envoy, found...)
	}
	if err := r.print(cmd.OutOrStdout(), o.json, o.file); err != nil {
		return err
	}
	n := len(r.Config)
	for _, f := range r.Envoy {
		if f.Severity >= o.least.Severity {
			n++
		}
	}
	if n > 0 {
		return findings(n)
	}
	return nil
}

// proxyAdmin is where the proxy of a mesh has its admin interface, for its own pod.
// https://istio.io/latest/docs/ops/deployment/application-requirements/#ports-used-by-istio
const proxyAdmin = "http://127.0.0.1:15000"

// source is where an Envoy's configuration is read: in a file, or from its admin interface.
type source struct {
	file, admin string
	mesh        bool // it is the proxy of a mesh
}

func checkEnvoy(ctx context.Context, from source, want check.Want) ([]check.Finding, error) {
	var doc []byte
	var proxy check.Proxy
	var err error
	if from.file != "" {
		doc, err = os.ReadFile(from.file)
	} else {
		doc, err = askEnvoy(ctx, from.admin, "config_dump", "include_eds")
		if err == nil && from.mesh {
			proxy.Dial = check.DialSocket
			proxy.Clusters, err = askEnvoy(ctx, from.admin, "clusters", "format=json")
		}
	}
	if err != nil {
		return nil, err
	}
	var found []check.Finding
	if from.mesh {
		found, err = check.Istio(doc, want, proxy)
	} else {
		found, err = check.Envoy(doc, want)
	}
	if err != nil {
		return nil, fmt.Errorf("%s%s: %w", from.file, from.admin, err)
	}
	return found, nil
}

// wanted is what an Envoy must have for a configuration.
func wanted(e envoy.Config) check.Want {
	return check.Want{
		Processor: e.Processor, Pools: e.Pools, Open: e.Clients.Open,
		Loopback: slices.ContainsFunc(e.Pools, func(p envoy.Pool) bool { return p.Tools }),
	}
}

// print writes the report. file is what the findings' lines are of, "" where Envoy was asked.
func (r report) print(w io.Writer, asJSON bool, file string) error {
	if asJSON {
		e := json.NewEncoder(w)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		return e.Encode(r)
	}
	var b strings.Builder
	for _, line := range r.Config {
		b.WriteString(line + "\n")
	}
	for _, line := range r.Warnings {
		b.WriteString("warning: " + line + "\n")
	}
	for _, f := range r.Envoy {
		fmt.Fprintf(&b, "%s: %s: %s is %s; wanted: %s\n", f.Severity, f.Where, f.Setting, f.Found, f.Want)
		if at := placeIn(file, f); at != "" {
			fmt.Fprintf(&b, "    at: %s\n", at)
		}
		fmt.Fprintf(&b, "    otherwise: %s\n    remedy: %s\n", f.Consequence, f.Remedy)
	}
	if len(r.Config)+len(r.Envoy) == 0 {
		b.WriteString("nothing found\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// placeIn is where a finding is: file and line, where there are such, and the path in the document.
func placeIn(file string, f check.Finding) string {
	if file == "" || f.Line == 0 {
		return f.Path
	}
	return strings.TrimSuffix(fmt.Sprintf("%s:%d: %s", file, f.Line, f.Path), ": ")
}

// maxDump bounds what is read of an Envoy's configuration, in bytes.
const maxDump = 256 << 20

// askEnvoy asks the admin interface of a running Envoy.
func askEnvoy(ctx context.Context, admin, path, query string) ([]byte, error) {
	client := &http.Client{Transport: http.DefaultTransport}
	if path, ok := socketPath(admin); ok {
		client.Transport = &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		}}
		admin = "http://envoy"
	}
	u, err := url.Parse(admin)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, usageError{fmt.Errorf("--envoy-admin: %q is neither a URL like http://127.0.0.1:9901 nor unix:PATH", admin)}
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.JoinPath(path).String()+"?"+query, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("admin interface of Envoy: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("admin interface of Envoy at %s answered %s", u.Redacted(), resp.Status)
	}
	return io.ReadAll(io.LimitReader(resp.Body, maxDump))
}
