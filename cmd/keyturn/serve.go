package main

import (
	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn/internal/config"
)

// configFlag is -c, which every command has that reads the configuration.
func configFlag(cmd *cobra.Command) *string {
	return cmd.Flags().StringP("config", "c", "keyturn.yaml", "the configuration `file`")
}

func newServe() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve the filter alone, for an Envoy that runs elsewhere",
		Long: "Serves ext_proc on the address 'listen' and health, metrics and pools on 'admin.listen', until a signal ends it.\n" +
			"SIGHUP, and a change of the configuration or of a file of keys, loads the configuration anew.\n" +
			"A newer version, or one with other settings, takes the place of one that runs with --take-over, and no request is lost; so is none where the\n" +
			"service manager holds the sockets (LISTEN_FDS).",
		Args: usageArgs(cobra.NoArgs),
	}
	path := configFlag(cmd)
	takeOver := cmd.Flags().Bool("take-over", false, "take the place of the process that listens there: it ends when its attempts have")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := config.Load(*path)
		if err != nil {
			return err
		}
		log, err := newLogger(cfg)
		if err != nil {
			return err
		}
		g, err := newGateway(cfg, log)
		if err != nil {
			return err
		}
		g.takeOver = *takeOver
		return g.serve(cmd.Context())
	}
	return cmd
}
