package main

import (
	"context"
	"encoding/json"
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
	var resumed resumption
	var detach bool
	cmd := &cobra.Command{
		Use:   "train [--config FILE | --preset NAME | --resume RUN [--epochs N] [--learning-rate X]]",
		Short: "Start a run and follow it",
		Long: `Starts a run of TrainAndDeploy at --server and follows it. Where no server
answers, it starts the local mode for this run and ends it afterwards. Without
--config it runs the defaults, on the demonstration data set.

With --resume the run goes on from the training of an earlier one, which was
stopped or has ended: from its last checkpoint, with all that it remembers.
--epochs is the number of epochs in all. A cosine is drawn anew over that many; the
schedules plateau and constant go on as if there had been no end.

Ctrl-C leaves a run at a server running; a run of the local mode that was started
for it goes on from its checkpoint when the local mode starts again.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := resumed.check(cmd, file, preset); err != nil {
				return err
			}
			client := newAPIClient(g.server)
			running, err := client.running(cmd.Context())
			if err != nil {
				return err
			}
			if !running && detach {
				return captioner.Errorf(captioner.Unavailable, "no server answers at %s, and --detach needs one: start `captioner up`", g.server)
			}
			train := func(start starter) error {
				if !running {
					return trainLocally(cmd, g, o, start)
				}
				err := trainAt(cmd.Context(), cmd, g, client, start, detach)
				if errors.Is(err, context.Canceled) {
					fmt.Fprintln(cmd.ErrOrStderr(), "the run goes on; `captioner runs cancel` stops it")
				}
				return err
			}
			if resumed.run != "" {
				return train(resumed.start)
			}
			input, err := readConfigFile(cmd, file, preset)
			if err != nil {
				return err
			}
			parse := input.parse // a server applies the rules of its machine
			if !running {
				parse = func() (captioner.Config, error) { return input.check(g.dataDir) }
			}
			cfg, err := parse()
			if err != nil {
				return err
			}
			return input.locate(train(starting(cfg)))
		},
	}
	addLocalFlags(cmd, &o)
	cmd.Flags().StringVar(&file, "config", "", "configuration in YAML or JSON (default: every default)")
	cmd.Flags().StringVar(&resumed.run, "resume", "", "run whose training to go on from")
	cmd.Flags().IntVar(&resumed.epochs, "epochs", 0, "with --resume: epochs in all, those done included (default: as before)")
	cmd.Flags().Float64Var(&resumed.rate, "learning-rate", 0, "with --resume: learning rate from now on (default: as before)")
	addPresetFlag(cmd, &preset)
	cmd.Flags().BoolVar(&detach, "detach", false, "leave once the run is started")
	return cmd
}

// resumption is what a run goes on from, and what is new about it.
type resumption struct {
	run    string
	epochs int
	rate   float64
}

// check refuses flags that mean nothing together.
func (r resumption) check(cmd *cobra.Command, file, preset string) error {
	if r.run != "" && (file != "" || preset != "") {
		return usageError{errors.New("--resume excludes --config and --preset: a run goes on with the configuration that it had")}
	}
	for _, name := range []string{"epochs", "learning-rate"} {
		if r.run == "" && cmd.Flags().Changed(name) {
			return usageError{fmt.Errorf("--%s needs --resume: for a new run name it in a configuration", name)}
		}
	}
	return nil
}

// start starts the run.
func (r resumption) start(ctx context.Context, client *apiClient) (captioner.Run, error) {
	training := map[string]any{}
	if r.epochs != 0 {
		training["epochs"] = r.epochs
	}
	if r.rate != 0 {
		training["learning_rate"] = r.rate
	}
	changes, err := json.Marshal(map[string]any{"training": training})
	if err != nil {
		return captioner.Run{}, err
	}
	return client.Resume(ctx, r.run, changes)
}

func trainAt(ctx context.Context, cmd *cobra.Command, g *global, client *apiClient, start starter, detach bool) error {
	if detach {
		run, err := start(ctx, client)
		if err != nil {
			return err
		}
		if g.json {
			return printJSON(cmd.OutOrStdout(), run)
		}
		_, err = fmt.Fprintln(cmd.OutOrStdout(), run.ID)
		return err
	}
	run, err := startAndFollow(ctx, cmd, g, client, start)
	if err != nil {
		return err
	}
	if err := outcome(run); err != nil {
		return err
	}
	return printOutcome(cmd, g, run)
}

func trainLocally(cmd *cobra.Command, g *global, o app.Options, start starter) (err error) {
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
		return trainAt(ctx, cmd, g, newAPIClient(a.APIURL()), start, false)
	})
	if errors.Is(err, context.Canceled) {
		fmt.Fprintln(cmd.ErrOrStderr(), "the run goes on from its checkpoint when the local mode starts again")
	}
	return err
}
