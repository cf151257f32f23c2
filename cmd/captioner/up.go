package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
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
	o.DataDir, o.Database, o.Blobs = g.dataDir, g.database, g.blobs
	o.Logger = logger
	o.Version, o.Commit, o.Branch = version, commit, branch
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
			return serveUntilDone(cmd, a, func() error {
				if g.json {
					return printJSON(cmd.OutOrStdout(), addresses(a))
				}
				return printAddresses(cmd.OutOrStdout(), a)
			})
		},
	}
	addLocalFlags(cmd, &o)
	return cmd
}

func addresses(a *app.App) map[string]string {
	return map[string]string{"api": a.APIURL(), "page": pageURL(a), "temporal": a.TemporalAddress(), "temporal_ui": a.TemporalUIURL()}
}

func printAddresses(w io.Writer, a *app.App) error {
	version, devices := a.TensorFlow()
	_, err := fmt.Fprintf(w, "TensorFlow       %s on %s\nPage             %s\nAPI              %s\nTemporal Web UI  %s\n",
		version, strings.Join(deviceNames(devices), ", "), pageURL(a), a.APIURL(), a.TemporalUIURL())
	return err
}

// deviceNames shortens TensorFlow's names, such as
// "/job:localhost/replica:0/task:0/device:CPU:0", to "CPU:0".
func deviceNames(devices []string) []string {
	short := make([]string, len(devices))
	for i, d := range devices {
		_, name, found := strings.Cut(d, "device:")
		if short[i] = name; !found {
			short[i] = d
		}
	}
	return short
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
keeps serving until Ctrl-C, also when the run has failed. What an earlier run has left
is found and not made again. As any run it makes its version live if that is as good
as the live one on its own test pictures.`,
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
	text := cmd.OutOrStdout()
	if g.json { // which then has the standard output for itself
		text = cmd.ErrOrStderr()
	}
	drawing := newBar(text, "drawing the demonstration pictures")
	o.DemonstrationProgress = drawing.update
	a, err := g.newApp(cmd, o, slog.LevelWarn)
	if err != nil {
		return err
	}
	fmt.Fprintln(text, "starting the local mode")
	if err := a.Start(cmd.Context()); err != nil {
		return err
	}
	defer func() {
		if stopErr := stopApp(cmd.Context(), a); err == nil {
			err = stopErr
		}
	}()
	return whileWhole(cmd.Context(), a, func(ctx context.Context) error {
		if err := printAddresses(text, a); err != nil {
			return err
		}
		_, err := a.Demonstration(ctx)
		drawing.done()
		if err != nil {
			return err
		}
		err = demonstrate(ctx, cmd, g, a)
		if once || ctx.Err() != nil {
			return err
		}
		if err != nil { // the page may have cancelled the run, and is still looked at
			fmt.Fprintf(cmd.ErrOrStderr(), "\nThe demonstration has not come to its end: %v\n", err)
		}
		fmt.Fprintf(text, "\nServing at %s, Temporal Web UI at %s. Caption a picture of your own on the page, %s, or:\n  curl -F file=@picture.jpg %s/predict\nCtrl-C ends it. bin/captioner up serves again, without the demonstration.\n",
			a.APIURL(), a.TemporalUIURL(), pageURL(a), a.APIURL())
		<-ctx.Done()
		fmt.Fprintln(text, "stopping")
		return nil // a server that is told to stop has done its work
	})
}

// demonstrate trains, and captions held-out pictures with what came of it.
func demonstrate(ctx context.Context, cmd *cobra.Command, g *global, a *app.App) error {
	client := newAPIClient(a.APIURL())
	run, err := startAndFollow(ctx, cmd, g, client, starting(captioner.DefaultConfig()))
	if err != nil {
		return err
	}
	if err := outcome(run); err != nil {
		return err
	}
	captions, err := captionHeldOut(ctx, client, a, run)
	if err != nil {
		return err
	}
	return printDemo(cmd, g, run, captions)
}

// whileWhole calls f with a context that ends, too, when a part of a ends by
// itself, and then returns that part's error.
func whileWhole(ctx context.Context, a *app.App, f func(ctx context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case err := <-a.Failed():
			cancel(err)
		case <-ctx.Done():
		}
	}()
	err := f(ctx)
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return err
}

// starter starts a run at a server.
type starter func(context.Context, *apiClient) (captioner.Run, error)

// starting starts a run of a configuration.
func starting(cfg captioner.Config) starter {
	return func(ctx context.Context, client *apiClient) (captioner.Run, error) { return client.Start(ctx, cfg) }
}

// startAndFollow starts a run and shows its progress until it ends.
func startAndFollow(ctx context.Context, cmd *cobra.Command, g *global, client *apiClient, start starter) (captioner.Run, error) {
	run, err := start(ctx, client)
	if err != nil {
		return captioner.Run{}, err
	}
	view := newProgressView(cmd.ErrOrStderr(), g.json)
	view.started(run)
	return follow(ctx, view, client, run.ID)
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
