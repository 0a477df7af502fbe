package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn/envoy/attach"
	"github.com/keyturn/keyturn/envoy/check"
)

// fixOptions are what of check's command line is about mending.
type fixOptions struct {
	fix, write, yes bool
}

func (o *fixOptions) flags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&o.fix, "fix", false, "print as a diff how the file of --envoy is mended, where it is sure what to write")
	cmd.Flags().BoolVar(&o.write, "write", false, "with --fix: write the file")
	cmd.Flags().BoolVar(&o.yes, "yes", false, "with --fix: also mend what other routes or listeners of the file notice")
}

// mend prints what is mended in a file and what is not. The error is how much of the latter makes check fail.
func (o *fixOptions) mend(cmd *cobra.Command, file string, want check.Want, least check.Severity) error {
	doc, err := readEnvoy(file)
	if err != nil {
		return err
	}
	f, err := attach.Fix(doc, want, o.yes)
	if err != nil {
		return refused(file, err)
	}
	if len(f.Mended) > 0 {
		if _, err := io.WriteString(cmd.OutOrStdout(), attach.Unified(file, doc, f.Doc)); err != nil {
			return err
		}
	}
	if len(f.Mended) > 0 && o.write {
		if err := replaceFile(file, doc, f.Doc); err != nil {
			return err
		}
	}
	var b strings.Builder
	for _, one := range f.Mended {
		fmt.Fprintf(&b, "mended: %s: %s is %s; wanted: %s\n    otherwise: %s\n", one.Where, one.Setting, one.Found, one.Want, one.Consequence)
	}
	for _, one := range f.LeftOut {
		fmt.Fprintf(&b, "left out, since other routes or listeners would notice (--yes mends it too): %s: %s: %s is %s; wanted: %s\n    otherwise: %s\n", one.Severity, one.Where, one.Setting, one.Found, one.Want, one.Consequence)
	}
	for _, one := range f.Left {
		fmt.Fprintf(&b, "by hand: %s: %s: %s is %s; wanted: %s\n    otherwise: %s\n    remedy: %s\n", one.Severity, one.Where, one.Setting, one.Found, one.Want, one.Consequence, one.Remedy)
	}
	if _, err := attach.Attached(doc); err == nil && len(f.Left) > 0 {
		b.WriteString("Within the lines that keyturn attach wrote nothing is mended: run attach again, with --yes for what others notice.\n")
	}
	switch {
	case len(f.Mended)+len(f.LeftOut)+len(f.Left) == 0:
		b.WriteString("nothing found\n")
	case len(f.Mended) > 0 && o.write:
		b.WriteString(file + " is written.\n")
	case len(f.Mended) > 0:
		b.WriteString("Nothing is written yet: --write does.\n")
	}
	if _, err := io.WriteString(cmd.ErrOrStderr(), b.String()); err != nil {
		return err
	}
	if n := len(without(slices.Concat(f.LeftOut, f.Left), least)); n > 0 {
		return findings(n)
	}
	return nil
}

// without leaves out what is less bad than least.
func without(all []check.Finding, least check.Severity) []check.Finding {
	return slices.DeleteFunc(all, func(f check.Finding) bool { return f.Severity < least })
}
