package main

import (
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn/internal/admin"
)

func newClients() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "clients",
		Short: "Show what clients have used of their limits",
		Long: "Shows for each client with limits what it has used of them, as used/limit: those with an entry in 'clients', and the others that came last.\n" +
			"It asks the admin endpoint of a running keyturn: the configuration says where that is, or --admin.",
		Args: usageArgs(cobra.NoArgs),
	}
	var a asking
	a.where(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		e, err := a.open()
		if err != nil {
			return err
		}
		out := cmd.OutOrStdout()
		if a.json {
			return e.read(cmd.Context(), "/api/v1/clients", nil, out, nil)
		}
		var answer struct{ Clients []admin.Client }
		if err := e.read(cmd.Context(), "/api/v1/clients", nil, out, &answer); err != nil {
			return err
		}
		w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
		fmt.Fprintln(w, "CLIENT\tPARALLEL\tREQUESTS/MIN\tTOKENS/MIN\tTOKENS/DAY\tUSD/MONTH")
		for _, c := range answer.Clients {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", shown(c.Name), of(c.Parallel), of(c.RequestsPerMinute), of(c.TokensPerMinute), of(c.TokensPerDay), of(c.SpendPerMonth))
		}
		return w.Flush()
	}
	return cmd
}

// of writes what is used of a limit.
func of(u admin.Used) string {
	if u.Limit == 0 {
		return fmt.Sprintf("%v", u.Used)
	}
	return fmt.Sprintf("%v/%v", u.Used, u.Limit)
}

// clients are those that have limits, as the admin endpoint shows them.
func (g *gateway) clients() (all []admin.Client) {
	const dollar = 1e9
	for _, s := range g.server.Standings() {
		l := s.Limits
		all = append(all, admin.Client{
			Name: s.Client, Own: s.Own, Pools: l.Pools, Models: l.Models, Reserved: s.Reserved,
			Parallel:          admin.UsedOf(float64(s.Parallel), float64(l.Parallel)),
			RequestsPerMinute: admin.UsedOf(float64(s.Requests), float64(l.RequestsPerMinute)),
			TokensPerMinute:   admin.UsedOf(float64(s.Tokens), float64(l.TokensPerMinute)),
			TokensPerDay:      admin.UsedOf(float64(s.DayTokens), float64(l.TokensPerDay)),
			SpendPerMonth:     admin.UsedOf(float64(s.MonthNano)/dollar, float64(l.SpendPerMonth)/dollar),
		})
	}
	return all
}
