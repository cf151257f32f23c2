package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"sort"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/captioner/captioner"
)

func newRunsCommand(g *global) *cobra.Command {
	cmd := &cobra.Command{Use: "runs", Short: "List, show, watch and cancel runs"}
	cmd.AddCommand(newRunsListCommand(g), newRunsShowCommand(g), newRunsWatchCommand(g), newRunsCancelCommand(g))
	return cmd
}

func newRunsListCommand(g *global) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the runs, newest first",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			runs, err := newAPIClient(g.server).List(cmd.Context())
			if err != nil {
				return err
			}
			if g.json {
				return printJSON(cmd.OutOrStdout(), map[string]any{"runs": runs})
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "RUN\tSTATE\tSTARTED\tTOOK")
			for _, r := range runs {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", r.ID, r.State, r.StartedAt.Local().Format(time.DateTime), took(r.StartedAt, r.FinishedAt))
			}
			return w.Flush()
		},
	}
}

func newRunsShowCommand(g *global) *cobra.Command {
	return &cobra.Command{
		Use:   "show RUN",
		Short: "Show a run: stages, progress, scores",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			run, err := newAPIClient(g.server).Describe(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if g.json {
				return printJSON(cmd.OutOrStdout(), run)
			}
			return printRun(cmd.OutOrStdout(), run)
		},
	}
}

func newRunsWatchCommand(g *global) *cobra.Command {
	return &cobra.Command{
		Use:   "watch RUN",
		Short: "Follow a run until it ends",
		Long: `Draws the run's progress until it ends, and then its outcome: bars on a terminal,
plain lines elsewhere, with --json each event on a line. It outlives a server that
is away for a while. The exit code is that of the run: 0 if it completed.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			view := newProgressView(cmd.ErrOrStderr(), false)
			if g.json {
				view = newProgressView(cmd.OutOrStdout(), true)
			}
			run, err := follow(cmd.Context(), view, newAPIClient(g.server), args[0])
			if err != nil {
				return err
			}
			if err := outcome(run); err != nil || g.json {
				return err
			}
			return printOutcome(cmd, g, run)
		},
	}
}

func newRunsCancelCommand(g *global) *cobra.Command {
	return &cobra.Command{
		Use:   "cancel RUN",
		Short: "Stop a run",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := newAPIClient(g.server).Cancel(cmd.Context(), args[0]); err != nil {
				return err
			}
			if g.json {
				return printJSON(cmd.OutOrStdout(), map[string]any{"id": args[0], "cancel_requested": true})
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s: asked to stop\n", args[0])
			return err
		},
	}
}

func printRun(w io.Writer, run captioner.Run) error {
	fmt.Fprintf(w, "run       %s\nstate     %s\nstarted   %s\ntook      %s\n", run.ID, run.State,
		run.StartedAt.Local().Format(time.DateTime), took(run.StartedAt, run.FinishedAt))
	if run.Note != "" {
		fmt.Fprintf(w, "          %s\n", run.Note)
	}
	if run.TraceID != "" {
		fmt.Fprintf(w, "trace     %s\n", run.TraceID)
	}
	if run.TemporalURL != "" {
		fmt.Fprintf(w, "Temporal  %s\n", run.TemporalURL)
	}
	if run.MLflowURL != "" {
		fmt.Fprintf(w, "MLflow    %s\n", run.MLflowURL)
	}
	fmt.Fprintln(w)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, s := range run.Stages {
		fmt.Fprintf(table, "%s\t%s\n", s.Name, stageText(s))
	}
	table.Flush()
	if len(run.Metrics) > 0 {
		fmt.Fprintln(w)
		names := make([]string, 0, len(run.Metrics))
		for name := range run.Metrics {
			names = append(names, name)
		}
		sort.Strings(names)
		for _, name := range names {
			fmt.Fprintf(table, "%s\t%.5g\n", name, run.Metrics[name])
		}
		table.Flush()
	}
	if run.Error != "" {
		fmt.Fprintf(w, "\n%s\n", run.Error)
		for _, p := range run.Problems {
			fmt.Fprintf(w, "  %s\n", p)
		}
	}
	if run.Result != nil {
		fmt.Fprintln(w)
		return printResult(w, *run.Result)
	}
	return nil
}

// stageText is what a person is told about a stage.
func stageText(s captioner.Stage) string {
	text := s.State
	if s.Total > 1 {
		text += fmt.Sprintf(" %d/%d", s.Done, s.Total)
	}
	if s.StartedAt != nil && s.FinishedAt != nil {
		text += " in " + took(*s.StartedAt, s.FinishedAt)
	}
	if s.Cached {
		text += " (kept from an earlier run)"
	}
	if s.Note != "" {
		text += "; " + s.Note
	}
	if s.Error != "" {
		text += ": " + s.Error
	}
	return text
}

func took(start time.Time, end *time.Time) string {
	until := time.Now()
	if end != nil {
		until = *end
	}
	d := until.Sub(start)
	if d < 10*time.Second {
		return d.Round(10 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

// printResult prints the outcome of a run: version, decision and scores.
func printResult(w io.Writer, r captioner.RunResult) error {
	if r.Version != "" {
		fmt.Fprintf(w, "version   %s\n", r.Version)
	}
	if r.Decision.Outcome != "" {
		fmt.Fprintf(w, "decision  %s\n", r.Decision.Outcome)
		for _, reason := range r.Decision.Reasons {
			fmt.Fprintf(w, "          %s\n", reason)
		}
	}
	live := "no"
	if r.Deployed {
		live = "yes"
	}
	fmt.Fprintf(w, "live      %s\n", live)
	if r.Decision.Outcome == captioner.Hold {
		fmt.Fprintf(w, "          captioner models promote %s makes it live all the same\n", r.Version.Short())
	}
	if r.Note != "" {
		fmt.Fprintf(w, "note      %s\n", r.Note)
	}
	for _, warning := range r.Warnings {
		fmt.Fprintf(w, "warning   %s\n", warning)
	}
	if r.LeftOut != nil {
		printLeftOut(w, *r.LeftOut)
	}
	fmt.Fprintln(w)
	return printEvaluation(w, r.Evaluation)
}

// maxShownLeftOut bounds how many pictures and lines are shown one by one.
const maxShownLeftOut = 10

// printLeftOut prints what of the data a run did not use.
func printLeftOut(w io.Writer, l captioner.LeftOut) {
	fmt.Fprintln(w, l)
	for _, q := range l.First[:min(maxShownLeftOut, len(l.First))] {
		place := q.Image
		if q.Line > 0 {
			place = strings.TrimSpace(fmt.Sprintf("line %d %s", q.Line, q.Image))
		}
		fmt.Fprintf(w, "          %s: %s\n", place, cmp.Or(q.Detail, q.Reason))
	}
	if len(l.First) > maxShownLeftOut {
		fmt.Fprintln(w, "          quarantine.json in the run's folder below runs/ has all")
	}
}

// printEvaluation prints the scores in percent and the sample captions.
func printEvaluation(w io.Writer, e captioner.Evaluation) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	var further []string // the metrics beside BLEU: all scores of a run have the same
	if len(e.Scores) > 0 {
		further = slices.Sorted(maps.Keys(e.Scores[0].Metrics))
	}
	fmt.Fprintln(table, strings.Join(slices.Concat([]string{"ALGORITHM", "BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4"}, further, []string{"IMAGES"}), "\t"))
	for _, s := range e.Scores {
		fmt.Fprintf(table, "%s\t%.1f\t%.1f\t%.1f\t%.1f", s.Algorithm, 100*s.BLEU1, 100*s.BLEU2, 100*s.BLEU3, 100*s.BLEU4)
		for _, name := range further {
			fmt.Fprintf(table, "\t%.1f", 100*s.Metrics[name])
		}
		fmt.Fprintf(table, "\t%d\n", s.Images)
	}
	table.Flush()
	if len(e.Demonstration) > 0 {
		names := make([]string, 0, len(e.Demonstration))
		for name := range e.Demonstration {
			names = append(names, name)
		}
		sort.Strings(names)
		fmt.Fprintln(w)
		for _, name := range names {
			fmt.Fprintf(table, "%s\t%.3f\n", name, e.Demonstration[name])
		}
		table.Flush()
	}
	if len(e.Samples) > 0 {
		fmt.Fprintln(w, "\nHeld-out pictures:")
		for _, s := range e.Samples {
			fmt.Fprintf(w, "  %s\n    greedy     %s\n    beam       %s\n    reference  %s\n", s.Image, s.Greedy, s.Beam, s.Reference)
		}
	}
	return nil
}
