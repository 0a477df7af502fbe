package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn/envoy"
	"github.com/keyturn/keyturn/internal/config"
)

// renderEnvoy is Envoy's whole configuration as YAML.
func renderEnvoy(cfg envoy.Config) ([]byte, error) {
	b, err := envoy.Render(cfg)
	if err != nil {
		return nil, err
	}
	return envoy.Marshal(b)
}

func newRender() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "render",
		Short: "Print configuration for what runs around Keyturn",
		Args:  usageArgs(knownCommand),
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
		b, err := renderEnvoy(cfg.OwnEnvoy())
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
		return writePrivate(file, b)
	}
	_, err := cmd.OutOrStdout().Write(b)
	return err
}

// writePrivate puts a file of mode 0600 in the place of what is there, whatever mode that had, whole or not at all. A link is refused: who made it
// would choose where the text goes. What is no file, such as a pipe, is written to.
func writePrivate(file string, b []byte) (err error) {
	info, err := os.Lstat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case info.Mode().Type() == fs.ModeSymlink:
		return fmt.Errorf("%s is a link; name the file that it leads to, or leave -o out to write to standard output", file)
	case !info.Mode().IsRegular():
		return os.WriteFile(file, b, 0o600)
	}
	f, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+"-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
