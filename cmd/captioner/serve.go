package main

import (
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/captioner/captioner/internal/app"
)

func newServeCommand(g *global) *cobra.Command {
	o := app.Options{API: true}
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve the API of a Temporal cluster, or one bundle alone",
		Long: `Serves the version that is live, starts and inspects runs of the Temporal cluster
at --temporal-address. With --bundle it serves that one bundle: no database and
no Temporal, /predict and the probes only.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			a, err := g.newApp(cmd, o, slog.LevelInfo)
			if err != nil {
				return err
			}
			return serveUntilDone(cmd, a, func() error {
				if g.json {
					return printJSON(cmd.OutOrStdout(), map[string]string{"api": a.APIURL()})
				}
				_, err := fmt.Fprintf(cmd.OutOrStdout(), "API  %s\n", a.APIURL())
				return err
			})
		},
	}
	addAPIFlags(cmd, &o)
	addEngineFlags(cmd, &o)
	addClusterFlags(cmd, &o)
	addBundleFlag(cmd, &o)
	return cmd
}

func newWorkerCommand(g *global) *cobra.Command {
	o := app.Options{Worker: true}
	cmd := &cobra.Command{
		Use:   "worker",
		Short: "Execute runs of a Temporal cluster",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			a, err := g.newApp(cmd, o, slog.LevelInfo)
			if err != nil {
				return err
			}
			return serveUntilDone(cmd, a, func() error {
				if g.json {
					return printJSON(cmd.OutOrStdout(), map[string]string{"temporal": o.TemporalAddress})
				}
				_, err := fmt.Fprintf(cmd.OutOrStdout(), "working for %s\n", o.TemporalAddress)
				return err
			})
		},
	}
	addEngineFlags(cmd, &o)
	addWorkerFlags(cmd, &o)
	addTrackingFlags(cmd, &o)
	addClusterFlags(cmd, &o)
	addQueueFlags(cmd, &o)
	return cmd
}
