package main

import (
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn/envoy"
	"github.com/keyturn/keyturn/envoy/mesh"
	"github.com/keyturn/keyturn/internal/config"
)

func newRenderIstio() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "istio",
		Short: "Print the resources that attach Keyturn to an Istio mesh",
		Long: "Prints ServiceEntry, DestinationRule, VirtualService or HTTPRoute, and one EnvoyFilter with every setting that Keyturn needs,\n" +
			"for an egress gateway, for the sidecars of pods, or for a gateway of the Gateway API.\n" +
			"listen and envoy.loopback must be in a volume that the proxy and Keyturn share, and each pool's clusters must begin with the\n" +
			"name that Istio gives to its provider's cluster, such as outbound|80||api.openai.com; what is missing is said.",
		Args: usageArgs(cobra.NoArgs),
		Example: `  keyturn render istio --form gateway --namespace llm --selector istio=llm-egress | kubectl apply -f -
  keyturn render istio --form sidecar --namespace agents --selector app=agent
  keyturn render istio --form gateway-api --namespace llm --gateway llm-egress`,
	}
	file := configFlag(cmd)
	out := outputFlag(cmd)
	var to mesh.Istio
	f := cmd.Flags()
	form := f.String("form", mesh.Gateway.String(), "gateway, sidecar or gateway-api")
	f.StringVar(&to.Name, "name", "keyturn", "what the names of the resources begin with; another one for other proxies")
	f.StringVarP(&to.Namespace, "namespace", "n", "default", "namespace of the proxies and of the resources")
	f.StringToStringVarP(&to.Selector, "selector", "l", nil, "labels of the proxies' pods, `key=value,…`; required but for gateway-api")
	f.StringVar(&to.Gateway, "gateway", "", "use the Gateway of this `name` in the namespace (default: one is printed)")
	f.StringVar(&to.Service, "gateway-service", "", "also send what apps of the mesh call by a provider's name to the gateway, by its Service's full host `name`")
	f.Uint32Var(&to.Port, "port", 0, "where the proxy listens: a gateway's own `port` (default 8080), or the one that apps call (default 80)")
	f.BoolVar(&to.EgressListener, "egress-listener", false, "form sidecar: listen on --port of 127.0.0.1, for pods whose traffic is not captured")
	sockets := socketFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var err error
		if to.Form, err = mesh.ParseForm(*form); err != nil {
			return usageError{fmt.Errorf("--form: %w", err)}
		}
		if to.SocketMode, err = parseMode(sockets.mode); err != nil {
			return usageError{err}
		}
		cfg, err := config.Load(*file)
		if err != nil {
			return err
		}
		b, err := mesh.RenderIstio(sockets.move(cfg.EnvoyConfig()), to)
		if err != nil {
			return err
		}
		return writeOutput(cmd, *out, b)
	}
	return cmd
}

// sockets are where a proxy in another container finds Keyturn's sockets.
type sockets struct{ folder, mode string }

func socketFlags(cmd *cobra.Command) *sockets {
	s := &sockets{}
	cmd.Flags().StringVar(&s.folder, "sockets", "", "the `folder` of the sockets, instead of those of listen, envoy.inner and envoy.loopback")
	cmd.Flags().StringVar(&s.mode, "socket-mode", "0660", "of the loopback socket: 0660 for a proxy and a Keyturn that share a group, 0600 for the same user")
	return s
}

// move puts the sockets of a configuration into the folder that was asked for.
func (s *sockets) move(e envoy.Config) envoy.Config {
	if s.folder != "" {
		for _, address := range []*string{&e.Processor, &e.Inner, &e.Loopback} {
			*address = inFolder(s.folder, *address)
		}
	}
	return e
}

// parseMode reads a file's mode, which is written in octal.
func parseMode(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 8, 32)
	if err != nil {
		return 0, errors.New("--socket-mode: must be 0600 or 0660")
	}
	return uint32(n), nil
}

// inFolder moves a socket to another folder; other addresses stay.
func inFolder(folder, address string) string {
	p, ok := strings.CutPrefix(address, "unix:")
	if !ok {
		return address
	}
	return "unix:" + path.Join(folder, path.Base(p))
}
