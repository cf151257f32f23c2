package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/app"
	"github.com/captioner/captioner/internal/fsck"
)

func newFsckCommand(g *global) *cobra.Command {
	var repair bool
	cmd := &cobra.Command{
		Use:   "fsck",
		Short: "Check all that is kept, and with --repair mend what is damaged",
		Long: `Compares everything with what it should be: the database with itself (SQLite),
every blob with its SHA-256, bundles with their manifests, the rows of versions with
their bundles, the deployment log with its records, checkpoints with their blobs, and
the unpacked bundles. It says what is wrong and what a repair would do.

With --repair it does so. The local mode has to be stopped for that, and so have other
programs that use the same SQLite database. A damaged database is kept beside the new
one. The exit code is 1 while something is wrong.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := filepath.Abs(g.dataDir)
			if err != nil {
				return err
			}
			if _, err := os.Stat(dir); err != nil {
				return usageError{fmt.Errorf("the data folder %s does not exist: name it with --data-dir", dir)}
			}
			report, err := app.Fsck(cmd.Context(), app.StorageOptions{DataDir: dir, Database: g.database, Blobs: g.blobs}, repair)
			if err != nil {
				return err
			}
			if g.json {
				err = printJSON(cmd.OutOrStdout(), report)
			} else {
				err = printFsck(cmd.OutOrStdout(), report)
			}
			if err == nil && !report.OK {
				err = errReported
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&repair, "repair", false, "mend what can be mended")
	return cmd
}

func printFsck(w io.Writer, r fsck.Report) error {
	if len(r.Problems) > 0 {
		table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "CHECK\tSUBJECT\tPROBLEM\tREPAIR")
		for _, p := range r.Problems {
			subject, what := p.Subject, p.Repair
			if d := captioner.Digest(subject); d.Valid() {
				subject = d.Short()
			}
			switch {
			case p.Repaired:
				what = "done: " + what
			case what == "":
				what = "none: " + p.Advice
			}
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", p.Check, subject, p.Message, what)
		}
		if err := table.Flush(); err != nil {
			return err
		}
	}
	left, mendable := 0, 0
	for _, p := range r.Problems {
		if !p.Repaired {
			left++
			if p.Repair != "" {
				mendable++
			}
		}
	}
	fmt.Fprintf(w, "checked %s, %s, %s, %s\n", count(r.Checked[fsck.Blob], "blob"), count(r.Checked[fsck.Version], "version"),
		count(r.Checked[fsck.Log], "deployment"), count(r.Checked[fsck.Checkpoint], "checkpoint"))
	switch {
	case len(r.Problems) == 0:
		_, err := fmt.Fprintln(w, "nothing is wrong")
		return err
	case left == 0:
		_, err := fmt.Fprintf(w, "%s repaired\n", count(len(r.Problems), "problem"))
		return err
	default:
		_, err := fmt.Fprintf(w, "%s left; --repair mends %d of them\n", count(left, "problem"), mendable)
		return err
	}
}
