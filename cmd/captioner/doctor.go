package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/captioner/captioner/internal/app"
	"github.com/captioner/captioner/internal/doctor"
)

func newDoctorCommand(g *global) *cobra.Command {
	o := app.Options{}
	cmd := &cobra.Command{
		Use:   "doctor [up|serve|worker]",
		Short: "Check everything that a server needs before it starts",
		Long: `Checks what captioner up, serve or worker need with the same flags and variables:
the data folder and its disk, the database and its schema, the object store, Temporal and its namespace,
MLflow, the engine and its TensorFlow, the ports, and where traces go. Nothing is
changed. Without a command it checks for up. A warning stops no start; the exit code
is 1 when something does.`,
		Args:      cobra.MatchAll(cobra.MaximumNArgs(1), cobra.OnlyValidArgs),
		ValidArgs: []string{"up", "serve", "worker"},
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Local = len(args) == 0 || args[0] == "up"
			o.API = o.Local || args[0] == "serve"
			o.Worker = o.Local || args[0] == "worker"
			o.DataDir, o.Database, o.Blobs = g.dataDir, g.database, g.blobs
			checks, err := app.Checks(o)
			if err != nil {
				return err
			}
			findings := doctor.Run(cmd.Context(), checks)
			if err := cmd.Context().Err(); err != nil {
				return err
			}
			failed := doctor.Err(findings)
			if g.json {
				err = printJSON(cmd.OutOrStdout(), map[string]any{"ok": failed == nil, "checks": findings})
			} else {
				err = printFindings(cmd.OutOrStdout(), findings)
			}
			if err == nil && failed != nil {
				err = errReported
			}
			return err
		},
	}
	addLocalFlags(cmd, &o)
	addClusterFlags(cmd, &o)
	addBundleFlag(cmd, &o)
	addQueueFlags(cmd, &o)
	return cmd
}

func printFindings(w io.Writer, findings []doctor.Finding) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "CHECK\tSTATE\tFINDING")
	for _, f := range findings {
		fmt.Fprintf(table, "%s\t%s\t%s\n", f.Name, f.State, f.Detail)
	}
	return table.Flush()
}
