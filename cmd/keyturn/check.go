package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn/envoy"
	"github.com/keyturn/keyturn/internal/config"
)

// findings is how many things check found and has printed.
type findings int

func (f findings) Error() string { return fmt.Sprintf("%d findings", int(f)) }

// report is what check prints with --json.
type report struct {
	Config   []string        `json:"config"`   // what is wrong with the configuration, a line each
	Warnings []string        `json:"warnings"` // what works and should be known
	Envoy    []envoy.Finding `json:"envoy"`    // what Envoy's configuration lacks
}

func newCheck() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Check the configuration, and Envoy's",
		Long: "Checks keyturn.yaml, and with --envoy or --envoy-admin that an Envoy has every setting that Keyturn needs to keep it alive and\n" +
			"its keys in turn. Exits with 0 when all is well, with 1 when something was found, with 2 when the command line is wrong.",
		Args: usageArgs(cobra.NoArgs),
	}
	path := configFlag(cmd)
	file := cmd.Flags().String("envoy", "", "also check this Envoy configuration: a bootstrap or a config dump, YAML or JSON `file`")
	admin := cmd.Flags().String("envoy-admin", "", "also check the running Envoy with this admin `URL`")
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *file != "" && *admin != "" {
			return usageError{errors.New("--envoy and --envoy-admin exclude each other")}
		}
		r := report{Config: []string{}, Warnings: []string{}, Envoy: []envoy.Finding{}}
		cfg, err := config.Load(*path)
		if err != nil {
			r.Config = strings.Split(err.Error(), "\n")
		} else {
			r.Warnings = append(r.Warnings, cfg.Warnings...)
		}
		if *file != "" || *admin != "" {
			doc, err := envoyDocument(cmd.Context(), *file, *admin)
			if err != nil {
				return err
			}
			var want envoy.Want
			if cfg != nil {
				want = wanted(envoyConfig(cfg))
			}
			found, err := envoy.Check(doc, want)
			if err != nil {
				return fmt.Errorf("%s%s: %w", *file, *admin, err)
			}
			r.Envoy = append(r.Envoy, found...)
		}
		if err := r.print(cmd.OutOrStdout(), *asJSON); err != nil {
			return err
		}
		if n := len(r.Config) + len(r.Envoy); n > 0 {
			return findings(n)
		}
		return nil
	}
	return cmd
}

// wanted is what an Envoy must have for a configuration.
func wanted(e envoy.Config) envoy.Want {
	return envoy.Want{
		Processor: e.Processor, Pools: e.Pools, Open: e.Clients.Open,
		Loopback: slices.ContainsFunc(e.Pools, func(p envoy.Pool) bool { return p.Tools }),
	}
}

func (r report) print(w io.Writer, asJSON bool) error {
	if asJSON {
		e := json.NewEncoder(w)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		return e.Encode(r)
	}
	var b strings.Builder
	for _, line := range r.Config {
		b.WriteString(line + "\n")
	}
	for _, line := range r.Warnings {
		b.WriteString("warning: " + line + "\n")
	}
	for _, f := range r.Envoy {
		weight := "should"
		if f.Fatal {
			weight = "must"
		}
		fmt.Fprintf(&b, "%s: %s is %s, %s be %s\n    otherwise: %s\n", f.Where, f.Setting, f.Found, weight, f.Want, f.Consequence)
	}
	if len(r.Config)+len(r.Envoy) == 0 {
		b.WriteString("nothing found\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// maxDump bounds what is read of an Envoy's configuration, in bytes.
const maxDump = 256 << 20

// envoyDocument reads a configuration from a file or from a running Envoy's /config_dump.
func envoyDocument(ctx context.Context, file, admin string) ([]byte, error) {
	if file != "" {
		return os.ReadFile(file)
	}
	u, err := url.Parse(admin)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, usageError{fmt.Errorf("--envoy-admin: %q is not a URL like http://127.0.0.1:9901", admin)}
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.JoinPath("config_dump").String()+"?include_eds", nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("admin interface of Envoy: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("admin interface of Envoy at %s answered %s", u.Redacted(), resp.Status)
	}
	return io.ReadAll(io.LimitReader(resp.Body, maxDump))
}
