package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/api/ui"
	"github.com/captioner/captioner/internal/app"
)

// stopGrace bounds an orderly stop: requests are drained, a training saves its
// checkpoint, children end.
const stopGrace = 30 * time.Second

// newApp fills in what all servers share.
func (g *global) newApp(cmd *cobra.Command, o app.Options, level slog.Level) (*app.App, error) {
	logger, err := g.logger(cmd.ErrOrStderr(), level)
	if err != nil {
		return nil, err
	}
	o.DataDir = g.dataDir
	o.Logger = logger
	o.Version = version
	return app.New(o)
}

// stopApp stops a in order, also when ctx has ended.
func stopApp(ctx context.Context, a *app.App) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopGrace)
	defer cancel()
	return a.Stop(ctx)
}

// serveUntilDone starts a, calls started, waits for the end of the command or
// of a part of a, and stops a.
func serveUntilDone(cmd *cobra.Command, a *app.App, started func() error) (err error) {
	ctx := cmd.Context()
	if err := a.Start(ctx); err != nil {
		return err
	}
	defer func() {
		if stopErr := stopApp(ctx, a); err == nil {
			err = stopErr
		}
	}()
	if err := started(); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return nil // a server that is told to stop has done its work
	case err := <-a.Failed():
		return err
	}
}

func newUpCommand(g *global) *cobra.Command {
	o := app.Options{Local: true, API: true, Worker: true}
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start the local mode: API, worker, engines and a Temporal server",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			a, err := g.newApp(cmd, o, slog.LevelInfo)
			if err != nil {
				return err
			}
			return serveUntilDone(cmd, a, func() error { return printAddresses(cmd, g, a) })
		},
	}
	addLocalFlags(cmd, &o)
	return cmd
}

func printAddresses(cmd *cobra.Command, g *global, a *app.App) error {
	if g.json {
		return printJSON(cmd.OutOrStdout(), map[string]string{"api": a.APIURL(), "page": pageURL(a), "temporal": a.TemporalAddress(), "temporal_ui": a.TemporalUIURL()})
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "Page             %s\nAPI              %s\nTemporal Web UI  %s\n", pageURL(a), a.APIURL(), a.TemporalUIURL())
	return err
}

// pageURL is where a browser finds the page.
func pageURL(a *app.App) string { return a.APIURL() + ui.Prefix }

func newDemoCommand(g *global) *cobra.Command {
	o := app.Options{Local: true, API: true, Worker: true}
	var once bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show the whole pipeline: make data, train, score, deploy, caption, keep serving",
		Long: `Starts the local mode, draws the demonstration data set where it is missing, runs
TrainAndDeploy on it, prints the scores and captions of held-out pictures, and
keeps serving until Ctrl-C. What an earlier run has left is found and not made again.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runDemo(cmd, g, o, once)
		},
	}
	addLocalFlags(cmd, &o)
	cmd.Flags().BoolVar(&once, "once", false, "end once the captions are printed")
	return cmd
}

func runDemo(cmd *cobra.Command, g *global, o app.Options, once bool) (err error) {
	ctx, out := cmd.Context(), cmd.OutOrStdout()
	drawing := newBar(out, "drawing the demonstration pictures")
	o.DemonstrationProgress = drawing.update
	a, err := g.newApp(cmd, o, slog.LevelWarn)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "starting the local mode")
	if err := a.Start(ctx); err != nil {
		return err
	}
	defer func() {
		if stopErr := stopApp(ctx, a); err == nil {
			err = stopErr
		}
	}()
	if err := printAddresses(cmd, g, a); err != nil {
		return err
	}
	_, err = a.Demonstration(ctx)
	drawing.done()
	if err != nil {
		return err
	}

	client := newAPIClient(a.APIURL())
	run, err := startAndFollow(ctx, cmd, client, captioner.DefaultConfig())
	if err != nil {
		return err
	}
	if err := outcome(run); err != nil {
		return err
	}
	if err := printOutcome(cmd, g, run); err != nil {
		return err
	}
	if err := captionHeldOut(ctx, cmd, client, a, run); err != nil {
		return err
	}
	if once {
		return nil
	}
	fmt.Fprintf(out, "\nServing at %s, Temporal Web UI at %s. Caption a picture of your own on the page, %s, or:\n  curl -F file=@picture.jpg %s/predict\nCtrl-C ends it.\n",
		a.APIURL(), a.TemporalUIURL(), pageURL(a), a.APIURL())
	select {
	case <-ctx.Done():
		fmt.Fprintln(out, "stopping")
		return nil
	case err := <-a.Failed():
		return err
	}
}

// startAndFollow starts a run and prints its progress until it ends.
func startAndFollow(ctx context.Context, cmd *cobra.Command, client runClient, cfg captioner.Config) (captioner.Run, error) {
	run, err := client.Start(ctx, cfg)
	if err != nil {
		return captioner.Run{}, err
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "run %s\n", run.ID)
	return follow(ctx, cmd.ErrOrStderr(), client, run.ID)
}

func printOutcome(cmd *cobra.Command, g *global, run captioner.Run) error {
	if g.json {
		return printJSON(cmd.OutOrStdout(), run)
	}
	if run.Result == nil {
		return nil
	}
	fmt.Fprintln(cmd.OutOrStdout())
	return printResult(cmd.OutOrStdout(), *run.Result)
}
