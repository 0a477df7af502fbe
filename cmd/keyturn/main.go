// Command keyturn puts traffic to model providers through Envoy with keys from a pool: it is Envoy's external processor, and
// what is needed around it. See "keyturn --help".
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"
)

func main() { os.Exit(run()) }

// Exit codes.
const (
	exitFailure = 1 // the command failed, or check found something
	exitUsage   = 2 // the command line cannot be understood
)

// run is main with an exit code.
func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends it at once
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	limitMemory()
	root := newRoot()
	err := root.ExecuteContext(ctx)
	var found findings
	switch {
	case err == nil:
		return 0
	case errors.As(err, &found): // already printed
		return exitFailure
	}
	fmt.Fprintln(os.Stderr, "keyturn:", err)
	var u usageError
	if errors.As(err, &u) {
		fmt.Fprintln(os.Stderr, "See 'keyturn --help'.")
		return exitUsage
	}
	return exitFailure
}

// gcPercent lets the heap grow further between collections than Go's 100 does: it is a few megabytes, so that collecting it so
// often, and growing the stacks again that each collection shrinks, was an eighth of the processor's CPU. GOGC overrides it, and
// GOMEMLIMIT bounds it.
const gcPercent = 400

// usageError is a command line that cannot be understood.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "keyturn",
		Short:         "Turn API keys for model providers, in Envoy",
		Long:          "Keyturn is an external processor (ext_proc) for Envoy. It puts a key of a pool into each request to a model provider,\nand when the provider answers 401, 403 or 429 before the stream has begun, it has Envoy try again with the next key.",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          usageArgs(cobra.NoArgs),
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(newServe(), newRun(), newDemo(), newCheck(), newAttach(), newDetach(), newRender(), newTurns(), newSpend(), newVersion())
	root.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	return root
}

// usageArgs makes what is wrong with arguments a usageError.
func usageArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usageError{err}
		}
		return nil
	}
}
