package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/app"
)

func newTrainCommand(g *global) *cobra.Command {
	o := app.Options{Local: true, API: true, Worker: true}
	var file, preset string
	var detach bool
	cmd := &cobra.Command{
		Use:   "train [--config FILE | --preset NAME]",
		Short: "Start a run and follow it",
		Long: `Starts a run of TrainAndDeploy at --server and follows it. Where no server
answers, it starts the local mode for this run and ends it afterwards. Without
--config it runs the defaults, on the demonstration data set.

Ctrl-C leaves a run at a server running; a run of the local mode that was started
for it goes on from its checkpoint when the local mode starts again.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			input, err := readConfigFile(cmd, file, preset)
			if err != nil {
				return err
			}
			client := newAPIClient(g.server)
			running, err := client.running(cmd.Context())
			if err != nil {
				return err
			}
			if running { // the rules of its machine are applied there
				cfg, err := input.parse()
				if err != nil {
					return err
				}
				err = trainAt(cmd.Context(), cmd, g, client, cfg, detach)
				if errors.Is(err, context.Canceled) {
					fmt.Fprintln(cmd.ErrOrStderr(), "the run goes on; `captioner runs cancel` stops it")
				}
				return input.locate(err)
			}
			if detach {
				return captioner.Errorf(captioner.Unavailable, "no server answers at %s, and --detach needs one: start `captioner up`", g.server)
			}
			cfg, err := input.check(g.dataDir)
			if err != nil {
				return err
			}
			return input.locate(trainLocally(cmd, g, o, cfg))
		},
	}
	addLocalFlags(cmd, &o)
	cmd.Flags().StringVar(&file, "config", "", "configuration in YAML or JSON (default: every default)")
	addPresetFlag(cmd, &preset)
	cmd.Flags().BoolVar(&detach, "detach", false, "leave once the run is started")
	return cmd
}

func trainAt(ctx context.Context, cmd *cobra.Command, g *global, client *apiClient, cfg captioner.Config, detach bool) error {
	if detach {
		run, err := client.Start(ctx, cfg)
		if err != nil {
			return err
		}
		if g.json {
			return printJSON(cmd.OutOrStdout(), run)
		}
		_, err = fmt.Fprintln(cmd.OutOrStdout(), run.ID)
		return err
	}
	run, err := startAndFollow(ctx, cmd, g, client, cfg)
	if err != nil {
		return err
	}
	if err := outcome(run); err != nil {
		return err
	}
	return printOutcome(cmd, g, run)
}

func trainLocally(cmd *cobra.Command, g *global, o app.Options, cfg captioner.Config) (err error) {
	a, err := g.newApp(cmd, o, slog.LevelWarn)
	if err != nil {
		return err
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "no server answers at %s: starting the local mode for this run\n", g.server)
	if err := a.Start(cmd.Context()); err != nil {
		return err
	}
	defer func() {
		if stopErr := stopApp(cmd.Context(), a); err == nil {
			err = stopErr
		}
	}()
	err = whileWhole(cmd.Context(), a, func(ctx context.Context) error {
		return trainAt(ctx, cmd, g, newAPIClient(a.APIURL()), cfg, false)
	})
	if errors.Is(err, context.Canceled) {
		fmt.Fprintln(cmd.ErrOrStderr(), "the run goes on from its checkpoint when the local mode starts again")
	}
	return err
}
