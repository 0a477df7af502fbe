package main

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn/envoy"
	"github.com/keyturn/keyturn/envoy/attach"
	"github.com/keyturn/keyturn/envoy/check"
	"github.com/keyturn/keyturn/internal/provider"
)

func newAttach() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "attach",
		Short: "Put Keyturn into an Envoy's own configuration",
		Long: "Edits a file of yours: a bootstrap, or listeners or clusters that Envoy watches; YAML or JSON. The routes to the cluster of a pool lead to Keyturn\n" +
			"then, and what that needs is added. Comments, order, your clusters and all other routes stay as they are. It prints the change as a diff, which says\n" +
			"why, on standard output, and what to know on standard error. --write writes the file; keyturn detach takes everything out again, byte for byte.\n" +
			"Run twice it changes nothing, and with another --pool it adds that.\n" +
			"What other routes or listeners of the file would notice is asked for on a terminal, done with --yes, and left out otherwise.\n" +
			"A file that cannot be edited safely is refused, with the reason: docs/attach.md.",
		Args: usageArgs(cobra.NoArgs),
		Example: `  keyturn attach --envoy envoy.yaml --pool openai=openai_cluster
  keyturn attach --envoy envoy.yaml --pool openai=openai_cluster --route chat --clients keyturn --write
  keyturn attach --envoy lds.yaml --pool openai=openai_cluster --write && keyturn attach --envoy cds.yaml --pool openai=openai_cluster --write`,
	}
	o := attachOptions{}
	f := cmd.Flags()
	f.StringVar(&o.file, "envoy", "", "the configuration `file` of your Envoy")
	f.StringArrayVar(&o.pools, "pool", nil, "a pool of keyturn.yaml and the cluster of its provider, as `NAME=CLUSTER`; may be given again")
	f.StringArrayVar(&o.routes, "route", nil, "the `name` of a route to lead to Keyturn; may be given again; without it all that lead to a pool's cluster")
	f.StringVar(&o.processor, "processor", "", "where Keyturn listens, `unix:PATH` or host:port; a relative path is relative to the folder that Envoy is started in (default "+defaultProcessor+")")
	f.StringVar(&o.clients, "clients", "", "`who` may use a listener that asks nobody who they are: open (everybody), or keyturn (who has a key of envoy.clients in keyturn.yaml)")
	f.IntVar(&o.keys, "keys", 0, "how `many` keys a pool may have (default 20)")
	f.BoolVar(&o.write, "write", false, "write the file")
	f.BoolVar(&o.yes, "yes", false, "also change what other routes or listeners of the file notice")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return o.attach(cmd) }
	return cmd
}

const defaultProcessor = "unix:run/extproc.sock"

// attachOptions are attach's command line.
type attachOptions struct {
	file, processor, clients string
	pools, routes            []string
	keys                     int
	write, yes               bool
}

// options are those of the edit. The error is a usageError.
func (o *attachOptions) options() (a attach.Options, err error) {
	switch {
	case o.file == "":
		return a, usageError{errors.New("--envoy FILE is needed")}
	case len(o.pools) == 0:
		return a, usageError{errors.New("--pool NAME=CLUSTER is needed: a pool of keyturn.yaml, and the cluster of its provider in the file")}
	case o.clients != attach.ClientsOwn && o.clients != attach.ClientsOpen && o.clients != attach.ClientsKeyturn:
		return a, usageError{fmt.Errorf("--clients must be open or keyturn, not %q", o.clients)}
	case o.keys < 0:
		return a, usageError{errors.New("--keys must not be negative")}
	}
	a = attach.Options{Processor: o.processor, Clients: o.clients, Others: o.yes}
	for _, p := range o.pools {
		name, cluster, ok := strings.Cut(p, "=")
		if !ok || name == "" || cluster == "" {
			return a, usageError{fmt.Errorf("--pool must be NAME=CLUSTER, not %q", p)}
		}
		a.Pools = append(a.Pools, attach.Pool{Name: name, Cluster: cluster, Routes: o.routes, Keys: o.keys})
	}
	return a, nil
}

func (o *attachOptions) attach(cmd *cobra.Command) error {
	a, err := o.options()
	if err != nil {
		return err
	}
	doc, err := readEnvoy(o.file)
	if err != nil {
		return err
	}
	before, err := attach.Attached(doc)
	if err != nil && !errors.Is(err, attach.ErrNothing) {
		return fmt.Errorf("%s: %w", o.file, err)
	}
	a.Processor = cmp.Or(a.Processor, before.Processor, defaultProcessor)
	r, err := attach.Attach(doc, a)
	if err != nil {
		return refused(o.file, err)
	}
	if len(r.LeftOut) > 0 && o.asked(cmd, r.LeftOut) {
		a.Others = true
		if r, err = attach.Attach(doc, a); err != nil {
			return refused(o.file, err)
		}
	}
	diff := r.Diff(o.file)
	if _, err := io.WriteString(cmd.OutOrStdout(), diff); err != nil {
		return err
	}
	if diff != "" && o.write {
		if err := replaceFile(o.file, doc, r.Doc); err != nil {
			return err
		}
	}
	_, err = io.WriteString(cmd.ErrOrStderr(), o.told(r, a.Merge(before), diff != ""))
	return err
}

// refused joins a file's name to each reason.
func refused(file string, err error) error {
	return errors.New(file + ": " + strings.ReplaceAll(err.Error(), "\n", "\n"+file+": "))
}

// asked asks on a terminal whether what others notice may be changed too.
func (o *attachOptions) asked(cmd *cobra.Command, left []attach.Edit) bool {
	in, ok := cmd.InOrStdin().(*os.File)
	if !ok || !o.write {
		return false
	}
	if info, err := in.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	fmt.Fprint(cmd.ErrOrStderr(), leftOut(o.file, left)+"Make these changes too? [y/N] ")
	answer, _ := bufio.NewReader(in).ReadString('\n')
	return strings.EqualFold(strings.TrimSpace(answer), "y") || strings.EqualFold(strings.TrimSpace(answer), "yes")
}

func leftOut(file string, left []attach.Edit) string {
	var b strings.Builder
	b.WriteString("Left out, since other routes or listeners would notice (--yes makes these changes too):\n")
	for _, e := range left {
		fmt.Fprintf(&b, "  %s:%d: %s\n    but: %s\n", file, e.Line, e.Whys[0], strings.Join(e.Whys[1:], " "))
	}
	return b.String()
}

// told is what to know of an edit.
func (o *attachOptions) told(r *attach.Result, a attach.Options, changed bool) string {
	var b strings.Builder
	switch {
	case !changed:
		fmt.Fprintf(&b, "%s has all of it: nothing changes.\n", o.file)
	case o.write:
		fmt.Fprintf(&b, "%s is written. keyturn detach --envoy %s --write gives it back as it was.\n", o.file, o.file)
	default:
		fmt.Fprintf(&b, "Nothing is written yet: --write does.\n")
	}
	for _, n := range r.Notes {
		b.WriteString(n + "\n")
	}
	if len(r.LeftOut) > 0 {
		b.WriteString(leftOut(o.file, r.LeftOut))
	}
	for _, f := range stillFound(r, a) {
		fmt.Fprintf(&b, "%s: %s: %s is %s; wanted: %s\n    otherwise: %s\n", f.Severity, f.Where, f.Setting, f.Found, f.Want, f.Consequence)
	}
	b.WriteString("\nBeside it runs: keyturn serve, with this keyturn.yaml and your keys in it:\n\n" + minimalConfig(a, r.Upstream))
	return b.String()
}

// stillFound is what check finds that is worse than a cost, but for what was told already. A file that is not a whole Envoy cannot be checked.
func stillFound(r *attach.Result, a attach.Options) []check.Finding {
	want := check.Want{Processor: a.Processor, Open: a.Clients == attach.ClientsOpen}
	for i, p := range a.Pools {
		u, err := url.Parse(cmp.Or(r.Upstream[i], "https://"+unknownHost))
		if err != nil {
			return nil
		}
		want.Pools = append(want.Pools, envoy.Pool{Name: p.Name, Clusters: []string{p.Cluster}, Keys: p.Keys, Upstream: u})
	}
	found, err := check.Envoy(r.Doc, want)
	if err != nil {
		return nil
	}
	return slices.DeleteFunc(found, func(f check.Finding) bool {
		told := slices.ContainsFunc(r.LeftOut, func(e attach.Edit) bool { return strings.HasPrefix(e.Whys[0], f.Setting) })
		return f.Severity == check.Costs || told || strings.Contains(f.Want, unknownHost)
	})
}

// unknownHost stands for a provider that the file does not name.
const unknownHost = "provider.invalid"

// minimalConfig is a keyturn.yaml for what was attached.
func minimalConfig(a attach.Options, upstream []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "listen: %q\npools:\n", a.Processor)
	for i, p := range a.Pools {
		fmt.Fprintf(&b, "- name: %s\n", p.Name)
		if _, known := provider.Named(p.Name); !known {
			b.WriteString("  provider: openai  # or anthropic, or whose it is\n")
		}
		if i < len(upstream) && upstream[i] != "" {
			fmt.Fprintf(&b, "  upstream: %q\n", upstream[i])
		} else {
			b.WriteString("  # upstream: https://HOST  # where the cluster leads, if that is not the provider's own address\n")
		}
		fmt.Fprintf(&b, "  clusters: [%q]\n  keys: [{env: %s_KEY}]\n", p.Cluster, strings.ToUpper(strings.Map(inVariable, p.Name)))
	}
	switch a.Clients {
	case attach.ClientsKeyturn:
		b.WriteString("envoy:\n  clients: {api_keys_file: clients.keys}  # name:key, one a line\n")
	case attach.ClientsOpen:
		b.WriteString("envoy:\n  clients: {open: true}\n")
	}
	return b.String()
}

// inVariable makes what may not be in the name of an environment variable an underscore.
func inVariable(r rune) rune {
	if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
		return r
	}
	return '_'
}

func readEnvoy(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxDump))
}

// replaceFile puts a text in the place of another, whole or not at all, with the mode and the owner that the file has. A link stays a link.
func replaceFile(file string, before, after []byte) (err error) {
	path, err := filepath.EvalSymlinks(file)
	if err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is no file that can be written", file)
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	_, err = f.Write(after)
	err = errors.Join(err, f.Chmod(info.Mode().Perm()))
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		_ = f.Chown(int(st.Uid), int(st.Gid)) // where that is allowed
	}
	err = errors.Join(err, f.Sync(), f.Close())
	if now, readErr := readEnvoy(path); err == nil && (readErr != nil || !bytes.Equal(now, before)) {
		err = fmt.Errorf("%s was changed meanwhile: nothing is written", file)
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
