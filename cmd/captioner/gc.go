package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/retention"
)

func newGCCommand(g *global) *cobra.Command {
	o := retention.Options{}
	cmd := &cobra.Command{
		Use:   "gc",
		Short: "Show what nothing needs any more, and with --delete delete it",
		Long: `Finds what cannot be reached from a version that is kept or from a run that goes
on: kept results, checkpoints, blobs, unpacked bundles, files of old runs, and what
processes that died have left behind. Without --delete it only says what would go.

Kept are the live version, the one that a rollback goes to, those that servers
serve, the pinned ones (captioner models pin), and the newest few. A version that is
not kept loses its files; its scores and lineage stay. Nothing that was written or
used within the grace time is deleted, so that runs can go on meanwhile.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.KeepVersions < 0 || o.Grace < 0 {
				return usageError{fmt.Errorf("--keep-versions and --grace must not be negative")}
			}
			storage, err := g.storage(cmd)
			if err != nil {
				return err
			}
			defer storage.Close()
			report, err := storage.Retain(cmd.Context(), o)
			if err != nil {
				return err
			}
			if g.json {
				return printJSON(cmd.OutOrStdout(), report)
			}
			return printRetention(cmd.OutOrStdout(), report)
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&o.Delete, "delete", false, "delete what is not needed")
	flags.IntVar(&o.KeepVersions, "keep-versions", retention.DefaultKeepVersions, "how many of the newest versions are kept")
	flags.DurationVar(&o.Grace, "grace", retention.DefaultGrace, "how long everything is kept after it was last written or used; less than an hour only while nothing runs")
	return cmd
}

func printRetention(w io.Writer, r retention.Report) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "WHAT\tCOUNT\tSIZE")
	for _, kind := range retention.Kinds {
		if n, bytes := r.Of(kind); n > 0 {
			fmt.Fprintf(table, "%s\t%d\t%s\n", kind, n, humanize.IBytes(uint64(bytes)))
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, item := range r.Items {
		if item.Kind == retention.Version {
			fmt.Fprintf(w, "version %s\n", captioner.Digest(item.Name).Short())
		}
	}
	what := "would be deleted; --delete does it"
	if r.Deleted {
		what = "deleted"
	}
	_, err := fmt.Fprintf(w, "%s %s; %s in %s stay\n", humanize.IBytes(uint64(r.Bytes)), what,
		humanize.IBytes(uint64(r.KeptBytes)), count(r.KeptBlobs, "blob"))
	return err
}
