package main

import (
	"fmt"
	"net/url"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn/internal/admin"
)

func newSpend() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "spend",
		Short: "Sum up what requests cost",
		Long: "Sums up the tokens and the price of the requests that a running keyturn has recorded, by whole hours in UTC.\n" +
			"It asks the admin endpoint: the configuration says where that is, or --admin.",
		Args: usageArgs(cobra.NoArgs),
	}
	var a asking
	a.flags(cmd)
	by := cmd.Flags().StringSlice("by", []string{"pool", "model"}, "a row for each `NAME`: client, pool, key, model, session")
	every := cmd.Flags().String("every", "", "a row for each `SPAN`: hour, day, month")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		e, err := a.open()
		if err != nil {
			return err
		}
		q := url.Values{}
		for name, value := range map[string]string{"from": a.from, "until": a.until, "every": *every, "by": strings.Join(*by, ",")} {
			if value != "" {
				q.Set(name, value)
			}
		}
		out := cmd.OutOrStdout()
		if a.json {
			return e.read(cmd.Context(), "/api/v1/spend", q, out, nil)
		}
		var answer struct {
			Rows []admin.Spend
			Lost int64
		}
		if err := e.read(cmd.Context(), "/api/v1/spend", q, out, &answer); err != nil {
			return err
		}
		w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
		if *every != "" {
			fmt.Fprint(w, "FROM\t")
		}
		for _, name := range *by {
			fmt.Fprintf(w, "%s\t", strings.ToUpper(name))
		}
		fmt.Fprintln(w, "TURNS\tFAILED\tINPUT\tCACHED\tOUTPUT\tUSD\tUNPRICED")
		for _, r := range answer.Rows {
			if *every != "" {
				fmt.Fprintf(w, "%s\t", r.At.UTC().Format("2006-01-02 15:04"))
			}
			for _, name := range *by {
				fmt.Fprintf(w, "%s\t", shown(r.By[name]))
			}
			fmt.Fprintf(w, "%d\t%d\t%d\t%d\t%d\t%s\t%d\n", r.Turns, r.Failed, r.Usage.Input, r.Usage.CacheRead, r.Usage.Output, r.USD, r.Unpriced)
		}
		if err := w.Flush(); err != nil {
			return err
		}
		if answer.Lost > 0 {
			fmt.Fprintf(out, "%d requests were not recorded: see keyturn_record_lost_total\n", answer.Lost)
		}
		return nil
	}
	return cmd
}
