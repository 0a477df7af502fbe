package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"text/template"
	"time"

	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn/internal/config"
	"github.com/keyturn/keyturn/internal/scripted"
	"github.com/keyturn/keyturn/internal/toolserver"
	"github.com/keyturn/keyturn/keypool"
)

// The demo's keys. They open nothing: the provider that knows them is the demo's own.
const (
	demoLimited  = "sk-demo-alpha-rate-limited"
	demoRefused  = "sk-demo-bravo-revoked"
	demoGood     = "sk-demo-charlie-good"
	demoLimitedA = "sk-ant-demo-delta-rate-limited"
	demoGoodA    = "sk-ant-demo-echo-good"
	demoCooldown = 15 * time.Second

	// Of the pools that only the demo's own traffic uses, so that what a visitor tries first is as it was.
	demoResearchLimited = "sk-demo-juliett-rate-limited"
	demoResearchRefused = "sk-demo-kilo-revoked"
	demoResearchGood    = "sk-demo-lima-good"
	demoEmptyA          = "sk-demo-mike-without-credit"
	demoEmptyB          = "sk-demo-november-without-credit"
)

var demoConfig = template.Must(template.New("keyturn.yaml").Parse(`# Written by "keyturn demo"; gone when it ends.
listen: unix:{{.Dir}}/extproc.sock
admin: {listen: "{{.Admin}}"}
log: {level: info, format: text}
record: {sqlite: "{{.Dir}}/records", tell: true}
pools:
- name: openai
  provider: openai
  upstream: {{.Provider}}
  keys:
  - {name: alpha, file: alpha.key}
  - {name: bravo, file: bravo.key}
  - {name: charlie, file: charlie.key}
  tools: {servers: [demo]}
- name: research
  provider: openai
  upstream: {{.Provider}}
  keys:
  - {name: juliett, file: juliett.key}
  - {name: kilo, file: kilo.key}
  - {name: lima, file: lima.key}
  tools: {servers: [demo]}
- name: exhausted
  provider: openai
  upstream: {{.Provider}}
  keys:
  - {name: mike, file: mike.key}
  - {name: november, file: november.key}
- name: anthropic
  provider: anthropic
  upstream: {{.Provider}}
  keys:
  - {name: delta, file: delta.key}
  - {name: echo, file: echo.key}
  tools: {servers: [demo]}
tools:
  servers:
  - {name: demo, url: "{{.Tools}}", allow: [add, weather, image]}
envoy:
  listen: "{{.Listen}}"
{{- with .EnvoyAdmin}}
  admin: "{{.}}"
{{- end}}
  loopback: unix:{{.Dir}}/loopback.sock
  access_log: {{.Dir}}/access.log
`))

// demo is what the template of its configuration needs, and the addresses to print.
type demo struct {
	Dir, Provider, Tools, Listen, Admin, EnvoyAdmin string
	Quiet                                           bool // no traffic of its own
}

func newDemo() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run the filter, an Envoy, a scripted provider and an MCP server: no account needed",
		Long: "Runs a gateway in front of a scripted provider that knows three keys: alpha is rate-limited, bravo is revoked, charlie is good.\n" +
			"Its model may call the tools of an MCP server: add, weather, image.\n" +
			"For some seconds it makes traffic to two pools of its own, so that the operator's page has something to show.\n" +
			"It prints curl lines to try, and then each request that the provider gets.",
		Args: usageArgs(cobra.NoArgs),
	}
	var flags runFlags
	flags.add(cmd)
	var d demo
	cmd.Flags().StringVar(&d.Listen, "listen", "127.0.0.1:10000", "where Envoy listens, `host:port`")
	cmd.Flags().StringVar(&d.Admin, "admin", "127.0.0.1:9420", "where Keyturn's admin endpoint listens, `host:port`")
	cmd.Flags().StringVar(&d.EnvoyAdmin, "envoy-admin", "", "show what can be seen of Envoy's admin interface at `host:port` (default: its socket alone)")
	cmd.Flags().BoolVar(&d.Quiet, "quiet", false, "make no traffic at the beginning, which shows what the operator's page has")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return d.run(cmd.Context(), cmd.OutOrStdout(), flags) }
	return cmd
}

func (d demo) run(ctx context.Context, out io.Writer, flags runFlags) (err error) {
	provider := scripted.New(scripted.Config{Mask: keypool.Mask, Log: func(x scripted.Exchange) {
		fmt.Fprintf(out, "provider: %s %s with key %s: %d %s\n", x.Method, x.Path, x.Key, x.Status, x.Answer)
	}})
	hello := scripted.Agent("Hello from the scripted provider. The key was turned for you.")
	provider.Key(demoLimited, scripted.RateLimited(demoCooldown)).Key(demoRefused, scripted.Unauthorized()).Key(demoGood, hello)
	provider.Key(demoLimitedA, scripted.RateLimited(demoCooldown)).Key(demoGoodA, hello)
	provider.Key(demoResearchLimited, scripted.RateLimited(demoCooldown)).Key(demoResearchRefused, scripted.Unauthorized()).Key(demoResearchGood, hello)
	provider.Key(demoEmptyA, scripted.Quota()).Key(demoEmptyB, scripted.Quota())
	server, err := provider.Start("")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	d.Provider = server.URL
	tools, err := toolserver.Start("127.0.0.1:0")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tools.Close()) }()
	d.Tools = tools.URL
	if d.Dir, err = os.MkdirTemp("", "keyturn-demo-"); err != nil {
		return err
	}
	defer os.RemoveAll(d.Dir)
	cfg, err := d.configuration()
	if err != nil {
		return err
	}
	if flags.dir == "" {
		flags.dir = d.Dir
	}
	var traffic sync.WaitGroup
	defer traffic.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	return runGateway(ctx, cfg, flags, func() {
		d.print(out)
		if !d.Quiet {
			traffic.Go(func() { d.traffic(ctx) })
		}
	})
}

// configuration writes the demo's files and loads them as any other.
func (d demo) configuration() (*config.Config, error) {
	var text strings.Builder
	if err := demoConfig.Execute(&text, d); err != nil {
		return nil, err
	}
	for name, content := range map[string]string{
		"keyturn.yaml": text.String(), "alpha.key": demoLimited, "bravo.key": demoRefused, "charlie.key": demoGood,
		"delta.key": demoLimitedA, "echo.key": demoGoodA, "juliett.key": demoResearchLimited, "kilo.key": demoResearchRefused, "lima.key": demoResearchGood,
		"mike.key": demoEmptyA, "november.key": demoEmptyB,
	} {
		if err := os.WriteFile(filepath.Join(d.Dir, name), []byte(content), 0o600); err != nil {
			return nil, err
		}
	}
	return config.Load(filepath.Join(d.Dir, "keyturn.yaml"))
}

func (d demo) print(out io.Writer) {
	fmt.Fprintf(out, `
Keyturn is ready. The client's own key never reaches the provider; alpha (and delta, Anthropic's) is rate-limited for %[4]v at a time,
bravo is revoked, charlie (and echo) is good. The model has the tools of an MCP server (add, weather, image), and calls them when asked.

Look at http://%[2]s/ in a browser.

  curl -i http://%[1]s/v1/responses -H 'authorization: Bearer anything' -d '{"model":"gpt-4o-mini","input":"hi"}'
  curl -iN http://%[1]s/v1/chat/completions -d '{"model":"gpt-4o-mini","stream":true,"messages":[{"role":"user","content":"hi"}]}'
  curl -i http://%[1]s/v1/messages -d '{"model":"claude-sonnet-4-5","max_tokens":64,"messages":[{"role":"user","content":"hi"}]}'
  curl -iN http://%[1]s/v1/responses -d '{"model":"gpt-4o-mini","stream":true,"input":"What is the weather in Oslo?"}'
  curl -s http://%[1]s/v1/messages -d '{"model":"claude-sonnet-4-5","max_tokens":64,"messages":[{"role":"user","content":"Add 20 and 22."}]}'
  curl -s http://%[2]s/api/v1/pools
  curl -s http://%[2]s/api/v1/tools
  curl -s http://%[2]s/api/v1/turns
  keyturn turns --admin %[2]s
  keyturn spend --admin %[2]s
  curl -s http://%[2]s/metrics | grep ^keyturn_

The configuration is %[3]s/keyturn.yaml, Envoy's access log %[3]s/access.log. Ctrl-C ends it.

`, d.Listen, d.Admin, d.Dir, demoCooldown)
}
