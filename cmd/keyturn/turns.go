package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn/internal/admin"
)

func newTurns() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "turns [ID]",
		Short: "Show what was recorded of requests",
		Long: "Lists the requests that a running keyturn has recorded, the newest first, or shows one with its attempts and calls of tools.\n" +
			"It asks the admin endpoint: the configuration says where that is, or --admin.",
		Args: usageArgs(cobra.MaximumNArgs(1)),
	}
	var a asking
	a.flags(cmd)
	var follow, failed, tools bool
	limit, texts := 0, map[string]*string{}
	for _, f := range []struct{ name, usage string }{
		{"client", "of this client"},
		{"session", "of this session"},
		{"pool", "of this pool"},
		{"key", "that this key served"},
		{"model", "that asked for this model, or that it answered"},
		{"status", "with this status, or 1 to 5 for a hundred of them"},
		{"error-class", "that ended with this"},
		{"after", "after this place, the next of the page before"},
	} {
		texts[f.name] = cmd.Flags().String(f.name, "", "only requests "+f.usage)
	}
	cmd.Flags().BoolVar(&failed, "failed", false, "only requests that failed")
	cmd.Flags().BoolVar(&tools, "tools", false, "only requests with calls of tools")
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "show requests as they end")
	cmd.Flags().IntVarP(&limit, "limit", "n", 0, "at most so `many` (default 50, at most 1000)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		e, err := a.open()
		if err != nil {
			return err
		}
		if len(args) == 1 {
			return e.showTurn(cmd, args[0], a.json, cmd.OutOrStdout())
		}
		q := url.Values{}
		set := func(name, value string) {
			if value != "" {
				q.Set(name, value)
			}
		}
		for name, value := range texts {
			set(strings.ReplaceAll(name, "-", "_"), *value)
		}
		set("from", a.from)
		set("until", a.until)
		for name, on := range map[string]bool{"failed": failed, "tools": tools, "follow": follow} {
			if on {
				q.Set(name, "true")
			}
		}
		if limit != 0 {
			q.Set("limit", strconv.Itoa(limit))
		}
		if follow {
			return e.followTurns(cmd, q, a.json, cmd.OutOrStdout())
		}
		return e.listTurns(cmd, q, a.json, cmd.OutOrStdout())
	}
	return cmd
}

// listTurns shows a page of turns.
func (e *endpoint) listTurns(cmd *cobra.Command, q url.Values, asJSON bool, out io.Writer) error {
	if asJSON {
		return e.read(cmd.Context(), "/api/v1/turns", q, out, nil)
	}
	var page struct {
		Turns []admin.Turn
		Next  string
		Lost  int64
	}
	if err := e.read(cmd.Context(), "/api/v1/turns", q, out, &page); err != nil {
		return err
	}
	t := newTurnTable(out)
	for i := range page.Turns {
		t.row(&page.Turns[i])
	}
	if err := t.w.Flush(); err != nil {
		return err
	}
	if page.Lost > 0 {
		fmt.Fprintf(out, "%d requests were not recorded: see keyturn_record_lost_total\n", page.Lost)
	}
	if page.Next != "" {
		fmt.Fprintf(out, "older ones: --after %s\n", page.Next)
	}
	return nil
}

// followTurns shows turns as they end.
func (e *endpoint) followTurns(cmd *cobra.Command, q url.Values, asJSON bool, out io.Writer) error {
	t := newTurnTable(out)
	return e.events(cmd.Context(), "/api/v1/turns", q, func(name string, data []byte) error {
		switch {
		case name == "lost":
			_, err := fmt.Fprintf(cmd.ErrOrStderr(), "keyturn: some went by too fast: %s\n", data)
			return err
		case asJSON:
			_, err := fmt.Fprintf(out, "%s\n", data)
			return err
		}
		var turn admin.Turn
		if err := json.Unmarshal(data, &turn); err != nil {
			return err
		}
		t.row(&turn)
		return t.w.Flush()
	})
}

// turnTable is a list of turns.
type turnTable struct{ w *tabwriter.Writer }

func newTurnTable(out io.Writer) *turnTable {
	t := &turnTable{tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)}
	fmt.Fprintln(t.w, "TIME\tID\tCLIENT\tPOOL\tMODEL\tSTATUS\tKEY\tTRIES\tTOOLS\tTOKENS\tUSD\tTOOK\tERROR")
	return t
}

func (t *turnTable) row(v *admin.Turn) {
	model, tokens, usd := v.Answered, "-", "-"
	if model == "" {
		model = v.Asked
	}
	if v.Usage.State != "unknown" {
		tokens = fmt.Sprintf("%d+%d", v.Usage.Input, v.Usage.Output)
		if v.Usage.State == "partial" {
			tokens += "?"
		}
	}
	if v.Price != nil {
		usd = v.Price.USD
		if !v.Price.Priced {
			usd += "?"
		}
	}
	failure := v.ErrorClass
	if failure == "" && v.Ending != "whole" {
		failure = v.Ending
	}
	fmt.Fprintf(t.w, "%s\t%s\t%s\t%s\t%s\t%d\t%s\t%d\t%d\t%s\t%s\t%s\t%s\n", v.Start.Local().Format(time.DateTime), shown(v.ID), shown(v.Client), shown(v.Pool), shown(model),
		v.Status, shown(v.Key), len(v.Attempts), len(v.Calls), tokens, usd, took(v.Duration), shown(failure))
}

// showTurn shows one turn with its trail.
func (e *endpoint) showTurn(cmd *cobra.Command, id string, asJSON bool, out io.Writer) error {
	path := "/api/v1/turns/" + url.PathEscape(id)
	if asJSON {
		return e.read(cmd.Context(), path, nil, out, nil)
	}
	var v admin.Turn
	if err := e.read(cmd.Context(), path, nil, out, &v); err != nil {
		return err
	}
	t := newTurnTable(out)
	t.row(&v)
	if err := t.w.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(out, "\n%s %s  session %s  agent %s  first byte %s  own part %s  %s\n\n", shown(v.Method), shown(v.Path), shown(v.Session), shown(v.UserAgent), took(v.FirstByte), took(v.Overhead), v.Ending)
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "TURN\tTRY\tAT\tTOOK\tPOOL\tKEY\tSTATUS\tOUTCOME\tCLASS\tRESTS\tMODEL\tTOKENS")
	for _, a := range v.Attempts {
		tokens, rests := "-", "-"
		if a.Usage != nil {
			tokens = fmt.Sprintf("%d+%d", a.Usage.Input, a.Usage.Output)
		}
		if a.Wait > 0 {
			rests = took(a.Wait)
		}
		fmt.Fprintf(w, "%d\t%d\t%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\t%s\t%s\n", a.Turn, a.Number, took(a.Start), took(a.Duration), shown(a.Pool), shown(a.Key), a.Status, shown(a.Outcome), shown(a.Class), rests, shown(a.Model), tokens)
	}
	if len(v.Calls) > 0 {
		fmt.Fprintln(w, "\nTURN\tCALL\tAT\tTOOK\tSERVER\tTOOL\tOUTCOME")
		for _, c := range v.Calls {
			fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t%s\t%s\n", c.Turn, shown(c.ID), took(c.Start), took(c.Duration), shown(c.Server), shown(c.Tool), shown(c.Outcome))
		}
	}
	return w.Flush()
}
