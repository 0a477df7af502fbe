package main

import (
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn/envoy"
	"github.com/keyturn/keyturn/internal/config"
	"github.com/keyturn/keyturn/internal/provider"
)

// envoyConfig is what the configuration says about Envoy, in the words of package envoy.
func envoyConfig(cfg *config.Config) envoy.Config {
	e := cfg.Envoy
	out := envoy.Config{
		Listen: e.Listen, Admin: e.Admin, Inner: e.Inner, Loopback: e.Loopback, Processor: cfg.Listen,
		Clients:         envoy.Clients{Open: e.Clients.Open},
		MaxRequestBytes: e.MaxRequestBytes, IdleTimeout: e.IdleTimeout, AccessLog: e.AccessLog,
	}
	if e.Attach == envoy.Route.String() {
		out.Attach = envoy.Route
	}
	for _, k := range e.Clients.APIKeys {
		out.Clients.APIKeys = append(out.Clients.APIKeys, envoy.ClientKey{Name: k.Name, Secret: k.Secret})
	}
	if j := e.Clients.JWT; j != nil {
		out.Clients.JWT = (*envoy.JWT)(j)
	}
	for _, p := range cfg.Pools {
		row, _ := provider.Named(p.Provider)
		pool := envoy.Pool{
			Name: p.Name, Messages: row.Native(provider.Messages), Upstream: p.Upstream, Clusters: p.Clusters, Keys: len(p.Keys),
			BYOK: p.BYOK.Allow, CredentialHeader: p.Credential.Header, MaxBodyBytes: p.MaxBody,
		}
		if p.Tools != nil {
			pool.Tools, pool.ToolTime = true, p.Tools.Time
		}
		out.Pools = append(out.Pools, pool)
	}
	return out
}

// renderEnvoy is Envoy's whole configuration as YAML.
func renderEnvoy(cfg *config.Config) ([]byte, error) {
	e := envoyConfig(cfg)
	if !slices.ContainsFunc(e.Pools, func(p envoy.Pool) bool { return p.Tools }) {
		e.Loopback = "" // not rendered, so that its path need not be one that a socket can have
	}
	b, err := envoy.Render(e)
	if err != nil {
		return nil, err
	}
	return envoy.Marshal(b)
}

func newRender() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "render",
		Short: "Print configuration for what runs around Keyturn",
		Args:  usageArgs(cobra.NoArgs),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newRenderEnvoy(), newRenderIstio(), newRenderEnvoyGateway(), newRenderKubernetes())
	return cmd
}

func newRenderEnvoy() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "envoy",
		Short: "Print a complete Envoy configuration",
		Long: "Prints an Envoy bootstrap in YAML: listener, routes, clusters of the providers, Keyturn's filter and every setting that it needs.\n" +
			"It holds the keys of envoy.clients, if there are any; a file written with -o is readable by its owner only.",
		Args: usageArgs(cobra.NoArgs),
	}
	path := configFlag(cmd)
	out := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := config.Load(*path)
		if err != nil {
			return err
		}
		b, err := renderEnvoy(cfg)
		if err != nil {
			return err
		}
		return writeOutput(cmd, *out, b)
	}
	return cmd
}

// outputFlag is where a command that renders writes to.
func outputFlag(cmd *cobra.Command) *string {
	return cmd.Flags().StringP("output", "o", "", "write to this `file` instead of standard output")
}

// writeOutput writes to a file that its owner alone reads, or to standard output when there is none.
func writeOutput(cmd *cobra.Command, file string, b []byte) error {
	if file != "" {
		return os.WriteFile(file, b, 0o600)
	}
	_, err := cmd.OutOrStdout().Write(b)
	return err
}
