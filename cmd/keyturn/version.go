package main

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn/envoy"
	"github.com/keyturn/keyturn/envoy/process"
	"github.com/keyturn/keyturn/internal/telemetry"
)

// build is what is known of this binary.
type build struct {
	Version  string `json:"version"`  // as the Go toolchain stamped it: a release's tag, a pseudo-version, or devel
	Commit   string `json:"commit"`   // "" where it was built without version control
	Date     string `json:"date"`     // of the commit, RFC 3339; "" as above
	Modified bool   `json:"modified"` // the tree had changes that were not committed
	Go       string `json:"go"`
	OS       string `json:"os"`
	Arch     string `json:"arch"`
	Envoy    struct {
		Tested string `json:"tested"` // the version that the tests run, and that run installs
		Least  string `json:"least"`  // older ones are refused
	} `json:"envoy"`
}

// thisBuild reads what the toolchain wrote into the binary.
func thisBuild() build {
	b := build{Version: telemetry.Version(), Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH}
	b.Envoy.Tested, b.Envoy.Least = process.Version, fmt.Sprintf("1.%d", envoy.MinMinor)
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Commit = s.Value
		case "vcs.time":
			b.Date = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b
}

// String is the build on one line.
func (b build) String() string {
	line := fmt.Sprintf("keyturn %s %s %s/%s", b.Version, b.Go, b.OS, b.Arch)
	if b.Commit == "" {
		return line
	}
	const short = 12
	line += ", commit " + b.Commit[:min(short, len(b.Commit))]
	if b.Modified {
		line += " with changes"
	}
	return line + " of " + b.Date
}

func newVersion() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  usageArgs(cobra.NoArgs),
	}
	asJSON := cmd.Flags().Bool("json", false, "print JSON: the commit, its date, Go's version and Envoy's versions too")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if !*asJSON {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), thisBuild())
			return err
		}
		e := json.NewEncoder(cmd.OutOrStdout())
		e.SetIndent("", "  ")
		return e.Encode(thisBuild())
	}
	return cmd
}
