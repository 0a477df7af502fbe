package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn/envoy/attach"
)

func newDetach() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "detach",
		Short: "Take Keyturn out of an Envoy's own configuration",
		Long: "Takes out of a file what keyturn attach put in, and puts back what stood there: the file is as it was before, byte for byte, but for what\n" +
			"you changed elsewhere in it since. It prints the change as a diff; --write writes the file. What was changed within attach's own lines is\n" +
			"refused in JSON, and lost in YAML, where the lines that attach replaced stand beside the new ones as comments.",
		Args:    usageArgs(cobra.NoArgs),
		Example: "  keyturn detach --envoy envoy.yaml --write",
	}
	file := cmd.Flags().String("envoy", "", "the configuration `file` of your Envoy")
	write := cmd.Flags().Bool("write", false, "write the file")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return detach(cmd, *file, *write) }
	return cmd
}

func detach(cmd *cobra.Command, file string, write bool) error {
	if file == "" {
		return usageError{errors.New("--envoy FILE is needed")}
	}
	doc, err := readEnvoy(file)
	if err != nil {
		return err
	}
	back, err := attach.Detach(doc)
	switch {
	case errors.Is(err, attach.ErrNothing):
		_, err = fmt.Fprintf(cmd.ErrOrStderr(), "%s: %v\n", file, err)
		return err
	case err != nil:
		return refused(file, err)
	}
	if _, err := io.WriteString(cmd.OutOrStdout(), attach.Unified(file, doc, back)); err != nil {
		return err
	}
	told := "Nothing is written yet: --write does.\n"
	if write {
		if err := replaceFile(file, doc, back); err != nil {
			return err
		}
		told = file + " is written.\n"
	}
	_, err = io.WriteString(cmd.ErrOrStderr(), told)
	return err
}
