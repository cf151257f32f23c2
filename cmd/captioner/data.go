package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/captioner/captioner/internal/demodata"
)

func newDataCommand(g *global) *cobra.Command {
	cmd := &cobra.Command{Use: "data", Short: "Make data sets"}
	cmd.AddCommand(newDataGenerateCommand(g))
	return cmd
}

func newDataGenerateCommand(g *global) *cobra.Command {
	var opt demodata.Options
	cmd := &cobra.Command{
		Use:   "generate DIR",
		Short: "Draw the demonstration data set: pictures of objects with five captions each",
		Long: `Draws pictures of one to four objects with five captions each into DIR, in the
layout of Kaggle's Flickr8k (Images/, captions.txt) with split files beside it.
The truth about each scene is in a file that training never reads. Equal --images
and --seed give equal bytes. A complete set that is there already is kept.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			bar := newBar(cmd.ErrOrStderr(), "drawing pictures")
			err := demodata.Generate(cmd.Context(), args[0], opt, bar.update)
			bar.done()
			if err != nil {
				return err
			}
			if g.json {
				return printJSON(cmd.OutOrStdout(), map[string]any{"dir": args[0], "images": opt.Images, "seed": opt.Seed})
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%d pictures with five captions each in %s\n", opt.Images, args[0])
			return err
		},
	}
	cmd.Flags().IntVar(&opt.Images, "images", demodata.DefaultImages, "number of pictures")
	cmd.Flags().Uint64Var(&opt.Seed, "seed", demodata.DefaultSeed, "seed of everything that is random")
	return cmd
}
