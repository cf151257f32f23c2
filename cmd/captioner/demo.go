package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/app"
)

// heldOut is a picture of the test split with what the live version says.
type heldOut struct {
	prediction
	Reference string `json:"reference"`
}

// captionHeldOut sends the pictures of the run's sample captions through the
// API, as a user would.
func captionHeldOut(ctx context.Context, client *apiClient, a *app.App, run captioner.Run) ([]heldOut, error) {
	if run.Result == nil {
		return nil, captioner.Errorf(captioner.Internal, "run %s completed without a result", run.ID)
	}
	data, err := a.Demonstration(ctx)
	if err != nil {
		return nil, err
	}
	var captions []heldOut
	for _, sample := range run.Result.Evaluation.Samples {
		picture, err := os.ReadFile(filepath.Join(data.Images, filepath.FromSlash(sample.Image)))
		if err != nil {
			return nil, err
		}
		reply, err := onceReady(ctx, func(ctx context.Context) (prediction, error) {
			return client.Predict(ctx, sample.Image, picture, nil)
		})
		if err != nil {
			return nil, err
		}
		reply.File = sample.Image
		captions = append(captions, heldOut{reply, sample.Reference})
	}
	return captions, nil
}

// printDemo prints what the demonstration came to.
func printDemo(cmd *cobra.Command, g *global, run captioner.Run, captions []heldOut) error {
	out := cmd.OutOrStdout()
	if g.json {
		return printJSON(out, map[string]any{"run": run, "captions": captions})
	}
	if err := printOutcome(cmd, g, run); err != nil {
		return err
	}
	fmt.Fprintln(out, "\nThe live version on held-out pictures, through the API:")
	for _, c := range captions {
		fmt.Fprintf(out, "  %s  (version %s, %.0f ms)\n    caption    %s\n    reference  %s\n",
			c.File, c.ModelVersion.Short(), 1000*c.Seconds, c.Caption, c.Reference)
	}
	return nil
}

const (
	// readyWait bounds the wait for a server that is just loading the version.
	readyWait = 30 * time.Second
	// readyEvery is the time between two questions whether it is ready.
	readyEvery = 500 * time.Millisecond
)

// onceReady asks for a caption, again while the server has no warm version yet.
func onceReady(ctx context.Context, predict func(ctx context.Context) (prediction, error)) (prediction, error) {
	ctx, cancel := context.WithTimeout(ctx, readyWait)
	defer cancel()
	ticker := time.NewTicker(readyEvery)
	defer ticker.Stop()
	for {
		reply, err := predict(ctx)
		if captioner.KindOf(err) != captioner.Unavailable {
			return reply, err
		}
		select {
		case <-ctx.Done():
			return prediction{}, err
		case <-ticker.C:
		}
	}
}
