package main

import (
	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn/envoy/mesh"
	"github.com/keyturn/keyturn/internal/config"
)

func newRenderEnvoyGateway() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "envoy-gateway",
		Short: "Print the resources that attach Keyturn to a Gateway of Envoy Gateway",
		Long: "Prints Backend, BackendTLSPolicy, HTTPRoute and BackendTrafficPolicy for each pool, and one EnvoyPatchPolicy with every setting\n" +
			"that Envoy Gateway has no field for. It was checked against Envoy, and never ran under an Envoy Gateway: see docs/istio.md.",
		Args:    usageArgs(cobra.NoArgs),
		Example: `  keyturn render envoy-gateway --namespace llm --domain llm.example.com | kubectl apply -f -`,
	}
	file := configFlag(cmd)
	out := outputFlag(cmd)
	var to mesh.EnvoyGateway
	f := cmd.Flags()
	f.StringVar(&to.Domain, "domain", "", "each pool is called by a host of its own in this `domain`: openai.DOMAIN; required")
	f.StringVar(&to.Name, "name", "keyturn", "what the names of the resources begin with; another one for another Gateway")
	f.StringVarP(&to.Namespace, "namespace", "n", "default", "namespace of the Gateway and of the resources")
	f.StringVar(&to.Gateway, "gateway", "", "use the Gateway of this `name` in the namespace (default: one is printed)")
	f.StringVar(&to.Listener, "listener", "http", "`name` of the Gateway's listener")
	sockets := socketFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var err error
		if to.SocketMode, err = parseMode(sockets.mode); err != nil {
			return usageError{err}
		}
		cfg, err := config.Load(*file)
		if err != nil {
			return err
		}
		b, err := mesh.RenderEnvoyGateway(sockets.move(cfg.EnvoyConfig()), to)
		if err != nil {
			return err
		}
		return writeOutput(cmd, *out, b)
	}
	return cmd
}
