package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func newModelsPinCommand(g *global) *cobra.Command {
	return pinCommand(g, true, &cobra.Command{
		Use:   "pin VERSION",
		Short: "Keep the files of a version for good",
		Long: `Keeps the files of a version, its data set and what its run has made from being
deleted by captioner gc, until it is unpinned.`,
	})
}

func newModelsUnpinCommand(g *global) *cobra.Command {
	return pinCommand(g, false, &cobra.Command{
		Use:   "unpin VERSION",
		Short: "Let captioner gc delete a version's files once they are not needed",
	})
}

func pinCommand(g *global, pinned bool, cmd *cobra.Command) *cobra.Command {
	cmd.Args = cobra.ExactArgs(1)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		storage, err := g.storage(cmd)
		if err != nil {
			return err
		}
		defer storage.Close()
		v, err := storage.Store.ModelVersion(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		if err := storage.Store.PinVersion(cmd.Context(), v.Version, pinned); err != nil {
			return err
		}
		if g.json {
			return printJSON(cmd.OutOrStdout(), map[string]any{"version": v.Version, "pinned": pinned})
		}
		what := "pinned"
		if !pinned {
			what = "no longer pinned"
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "version %s is %s\n", v.Version.Short(), what)
		return err
	}
	return cmd
}
