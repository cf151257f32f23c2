package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/app"
	"github.com/captioner/captioner/ml/decode"
)

func newPredictCommand(g *global) *cobra.Command {
	o := app.Options{API: true}
	cmd := &cobra.Command{
		Use:   "predict IMAGE...",
		Short: "Caption pictures, via the API or with one bundle",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			client := newAPIClient(g.server)
			if o.Bundle != "" {
				o.Listen = "127.0.0.1:0"
				// It is asked before it is ready, and warns of that.
				a, err := g.newApp(cmd, o, slog.LevelError)
				if err != nil {
					return err
				}
				if err := a.Start(cmd.Context()); err != nil {
					return err
				}
				defer func() {
					if stopErr := stopApp(cmd.Context(), a); err == nil {
						err = stopErr
					}
				}()
				client = newAPIClient(a.APIURL())
			}
			return predictFiles(cmd, g, args, func(ctx context.Context, name string, data []byte) (prediction, error) {
				predict := func(ctx context.Context) (prediction, error) {
					return client.Predict(ctx, name, data, decodingFields(cmd.Flags()))
				}
				if o.Bundle == "" {
					return predict(ctx)
				}
				return onceReady(ctx, predict)
			})
		},
	}
	addEngineFlags(cmd, &o)
	cmd.Flags().StringVar(&o.Bundle, "bundle", "", "folder of a bundle to caption with, instead of the server")
	addDecodingFlags(cmd.Flags())
	return cmd
}

// decodingFlags are the flags that become fields of the form of POST /predict.
// Those that are not given are left to the server.
var decodingFlags = []string{"algorithm", "beam-width", "num-captions", "temperature", "top-k", "top-p", "seed"}

func addDecodingFlags(flags *pflag.FlagSet) {
	flags.String("algorithm", "beam", strings.Join(decode.Algorithms(), " or "))
	flags.Int("beam-width", 0, "number of hypotheses that beam search keeps (default: the version's)")
	flags.Int("num-captions", 1, "captions for each picture, best first")
	flags.Float64("temperature", 1, "of sample: below 1 likely words come more often, above 1 unlikely ones")
	flags.Int("top-k", decode.MaxTopK, "of sample: draw from so many of the likeliest words")
	flags.Float64("top-p", 1, "of sample: draw from the likeliest words that together have this probability")
	flags.Uint64("seed", 0, "of sample: the same one draws the same caption again")
}

// decodingFields returns the fields of the form, by name.
func decodingFields(flags *pflag.FlagSet) map[string]string {
	fields := make(map[string]string)
	for _, name := range decodingFlags {
		if flag := flags.Lookup(name); flag.Changed {
			fields[strings.ReplaceAll(name, "-", "_")] = flag.Value.String()
		}
	}
	return fields
}

// predictFiles captions each file and prints a line for each; those that fail
// do not stop the others.
func predictFiles(cmd *cobra.Command, g *global, names []string,
	predict func(ctx context.Context, name string, data []byte) (prediction, error)) error {
	ctx := cmd.Context()
	var results []prediction
	var firstErr error
	for _, name := range names {
		reply, err := predictFile(ctx, name, predict)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		reply.File = name
		if err != nil {
			reply.WhatWentWrong = err.Error()
			if firstErr == nil {
				firstErr = err
			}
		}
		if g.json {
			results = append(results, reply)
			continue
		}
		printPrediction(cmd, reply)
	}
	if g.json {
		if err := printJSON(cmd.OutOrStdout(), map[string]any{"predictions": results}); err != nil {
			return err
		}
	}
	if firstErr != nil {
		return captioner.Wrap(captioner.KindOf(firstErr), errReported, "some pictures have no caption")
	}
	return nil
}

func predictFile(ctx context.Context, name string, predict func(context.Context, string, []byte) (prediction, error)) (prediction, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return prediction{}, captioner.Wrap(captioner.Invalid, err, "read the picture")
	}
	return predict(ctx, name, data)
}

func printPrediction(cmd *cobra.Command, p prediction) {
	if p.WhatWentWrong != "" {
		fmt.Fprintf(cmd.ErrOrStderr(), "%s: %s\n", p.File, p.WhatWentWrong)
		return
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", p.File, p.Caption)
	if len(p.Captions) > 1 {
		for _, h := range p.Captions {
			fmt.Fprintf(cmd.OutOrStdout(), "  %8.3f  %s\n", h.LogProbability, h.Text)
		}
	}
}
