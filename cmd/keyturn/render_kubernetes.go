package main

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn/internal/config"
	"github.com/keyturn/keyturn/internal/kube"
)

func newRenderKubernetes() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "kubernetes",
		Short: "Print the resources that run Keyturn in Kubernetes, beside a proxy",
		Long: "Prints Secrets without values, a ConfigMap with keyturn.yaml as the pod reads it, the container as a Deployment or as a patch of one,\n" +
			"PodDisruptionBudget, NetworkPolicy, Service and ServiceMonitor.\n" +
			"No key is printed: each is named, with the command that puts it into its Secret. \"render istio\" attaches Keyturn to the proxy.",
		Args: usageArgs(cobra.NoArgs),
		Example: `  keyturn render kubernetes --image registry.example.com/keyturn:1.0.0 -n llm --name llm-egress | kubectl apply --server-side -f -
  keyturn render kubernetes --form gateway-api --gateway llm-egress -n llm
  keyturn render kubernetes --form sidecar --deployment agent -n agents -l app=agent
  keyturn render kubernetes -n llm --name llm-egress --helm-values > values.yaml`,
	}
	file := configFlag(cmd)
	out := outputFlag(cmd)
	var s kube.Settings
	f := cmd.Flags()
	form := f.String("form", kube.Gateway.String(), "gateway (a Deployment of its own), gateway-api (what Istio makes for a Gateway), patch (a Deployment with a proxy) or sidecar (one into which Istio injects it)")
	f.StringVar(&s.Name, "name", "keyturn", "what the names of the resources begin with")
	f.StringVarP(&s.Namespace, "namespace", "n", "default", "namespace of the resources")
	f.StringToStringVarP(&s.Selector, "selector", "l", nil, "labels of the pods, `key=value,…`; required for patch and sidecar (default for gateway: istio=NAME)")
	f.StringVar(&s.Gateway, "gateway", "", "form gateway-api: `name` of the Gateway")
	f.StringVar(&s.Deployment, "deployment", "", "forms patch and sidecar: `name` of the Deployment")
	f.StringVar(&s.Container, "proxy-container", "", "`name` of the proxy's container (default istio-proxy)")
	f.StringVar(&s.Image, "image", "", "Keyturn's `image`, as the cluster pulls it (default keyturn:dev, which make image builds)")
	f.Uint32Var(&s.Port, "port", 0, "where the proxy listens for clients, the same as render istio's (default 8080)")
	f.Int64Var(&s.Group, "group", 0, "number of the `group` that Keyturn and the proxy share (default 2000)")
	f.BoolVar(&s.Plain, "plain-container", false, "a plain container, not a native sidecar: for Kubernetes where those are turned off")
	f.StringVar(&s.KeysIn, "keys-secret", "", "use the Secret of this `name`, which exists (default: an empty one is printed)")
	f.StringVar(&s.AdminIn, "admin-secret", "", "use the Secret of this `name` for admin-token (default: an empty one is printed)")
	f.StringSliceVar(&s.Without, "without", nil, "`kinds` that are not printed: "+strings.Join(kube.Optional, ", "))
	values := f.Bool("helm-values", false, "print values for the Helm chart charts/keyturn instead: it makes the same resources")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var err error
		if s.Form, err = kube.ParseForm(*form); err != nil {
			return usageError{fmt.Errorf("--form: %w", err)}
		}
		cfg, err := config.Load(*file)
		if err != nil {
			return err
		}
		src, err := kubeSource(cfg)
		if err != nil {
			return err
		}
		render := kube.Render
		if *values {
			render = kube.Values
		}
		b, err := render(src, s)
		if err != nil {
			return err
		}
		return writeOutput(cmd, *out, b)
	}
	return cmd
}

// kubeSource is what the configuration says about a pod. Its text is read again: a Config holds the secrets in place of their names.
func kubeSource(cfg *config.Config) (kube.Source, error) {
	text, err := os.ReadFile(cfg.Path)
	if err != nil {
		return kube.Source{}, err
	}
	src := kube.Source{YAML: text}
	if _, port, err := net.SplitHostPort(cfg.Admin.Listen); err == nil { // not a socket
		src.AdminPort, _ = strconv.Atoi(port) // checked; 0 leaves the choice to the chart
	}
	for _, p := range cfg.Pools {
		src.Destinations = append(src.Destinations, p.Upstream)
	}
	for _, t := range cfg.Tools.Servers {
		if t.URL != nil {
			src.Destinations = append(src.Destinations, t.URL)
			continue
		}
		src.Commands = append(src.Commands, t.Name)
	}
	return src, nil
}
