package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/captioner/captioner"
)

func newScheduleCommand(g *global) *cobra.Command {
	cmd := &cobra.Command{Use: "schedule", Short: "Train again at certain times, if the data has changed"}
	cmd.AddCommand(
		newScheduleCreateCommand(g), newScheduleListCommand(g), newScheduleShowCommand(g),
		newSchedulePauseCommand(g, true), newSchedulePauseCommand(g, false), newScheduleTriggerCommand(g), newScheduleDeleteCommand(g),
	)
	return cmd
}

func newScheduleCreateCommand(g *global) *cobra.Command {
	var s captioner.Schedule
	var file, preset string
	cmd := &cobra.Command{
		Use:   "create NAME {--cron TIMES | --every INTERVAL} [--config FILE | --preset NAME]",
		Short: "Make a schedule",
		Long: `Makes a schedule of Temporal that starts a run of TrainAndDeploy at certain times,
with a configuration that is given as to captioner train. A run trains only if the
data, a frozen encoder's weights or the word vectors differ from those that the
schedule's last completed run was trained on; else it ends as "unchanged". With
--force it trains whenever its time comes.

Where it is time for a run while the schedule's last one is under way, the new one
is left out; with --overlap buffer it starts when that one has ended, with --overlap
cancel that one is cancelled for it. Times that pass while Temporal is away are made
up for once when it is back.

NAME begins the IDs of the schedule's runs.`,
		Example: `  captioner schedule create nightly --cron "0 3 * * *" --time-zone Europe/Berlin --jitter 10m --config config.yaml`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			input, err := readConfigFile(cmd, file, preset)
			if err != nil {
				return err
			}
			cfg, err := input.parse() // the server applies the rules of its machine
			if err != nil {
				return err
			}
			s.Name, s.Config = args[0], &cfg
			made, err := newAPIClient(g.server).CreateSchedule(cmd.Context(), s)
			if err != nil {
				return input.locate(err)
			}
			return printSchedule(cmd, g, made)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&s.Cron, "cron", "", `times in five fields, minute, hour, day of the month, month, day of the week: "0 3 * * *" is three at night`)
	flags.DurationVar((*time.Duration)(&s.Every), "every", 0, "interval, such as 24h")
	flags.StringVar(&s.TimeZone, "time-zone", "", "IANA name of the time zone of --cron, such as Europe/Berlin (default: UTC)")
	flags.DurationVar((*time.Duration)(&s.Jitter), "jitter", 0, "the most that is added to each time by chance (default: nothing)")
	flags.StringVar((*string)(&s.Overlap), "overlap", string(captioner.OverlapSkip), "what becomes of a run whose time comes while the last one is under way: skip, buffer or cancel")
	flags.BoolVar(&s.Force, "force", false, "train whether or not the data has changed")
	flags.BoolVar(&s.Paused, "paused", false, "start nothing until the schedule is resumed")
	flags.StringVar(&file, "config", "", "configuration in YAML or JSON (default: every default)")
	addPresetFlag(cmd, &preset)
	return cmd
}

func newScheduleListCommand(g *global) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the schedules",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			schedules, err := newAPIClient(g.server).Schedules(cmd.Context())
			if err != nil {
				return err
			}
			if g.json {
				return printJSON(cmd.OutOrStdout(), map[string]any{"schedules": schedules})
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "SCHEDULE\tTIMES\tNEXT\tLAST RUN")
			for _, s := range schedules {
				last := "none"
				if len(s.Runs) > 0 {
					last = s.Runs[0].ID
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", s.Name, timesOf(s), nextOf(s), last)
			}
			return w.Flush()
		},
	}
}

func newScheduleShowCommand(g *global) *cobra.Command {
	return scheduleCommand(g, "show", "Show a schedule and its last runs", "", func(ctx context.Context, c *apiClient, name string) (captioner.Schedule, error) {
		return c.Schedule(ctx, name)
	})
}

func newSchedulePauseCommand(g *global, paused bool) *cobra.Command {
	use, short, long := "resume", "Let a schedule that was paused start runs again", ""
	if paused {
		use, short, long = "pause", "Keep a schedule from starting runs", "Keeps a schedule from starting runs. One that is under way goes on."
	}
	return scheduleCommand(g, use, short, long, func(ctx context.Context, c *apiClient, name string) (captioner.Schedule, error) {
		return c.PauseSchedule(ctx, name, paused)
	})
}

// scheduleCommand is a command that does something with a schedule and shows it.
func scheduleCommand(g *global, use, short, long string, do func(context.Context, *apiClient, string) (captioner.Schedule, error)) *cobra.Command {
	return &cobra.Command{
		Use: use + " NAME", Short: short, Long: long,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := do(cmd.Context(), newAPIClient(g.server), args[0])
			if err != nil {
				return err
			}
			return printSchedule(cmd, g, s)
		},
	}
}

func newScheduleTriggerCommand(g *global) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "trigger NAME",
		Short: "Start a run of a schedule now",
		Long: `Starts a run of a schedule now, also of one that is paused, and prints its ID for
captioner runs watch. The run trains only if the data has changed; with --force it
is an ordinary run of the schedule's configuration.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			run, err := newAPIClient(g.server).TriggerSchedule(cmd.Context(), args[0], force)
			if err != nil {
				return err
			}
			if g.json {
				return printJSON(cmd.OutOrStdout(), run)
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), run.ID)
			return err
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "train whether or not the data has changed")
	return cmd
}

func newScheduleDeleteCommand(g *global) *cobra.Command {
	return &cobra.Command{
		Use:   "delete NAME",
		Short: "Delete a schedule",
		Long:  "Deletes a schedule. A run of it that is under way goes on.",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := newAPIClient(g.server).DeleteSchedule(cmd.Context(), args[0]); err != nil {
				return err
			}
			if g.json {
				return printJSON(cmd.OutOrStdout(), map[string]any{"name": args[0], "deleted": true})
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s: deleted\n", args[0])
			return err
		},
	}
}

func printSchedule(cmd *cobra.Command, g *global, s captioner.Schedule) error {
	if g.json {
		return printJSON(cmd.OutOrStdout(), s)
	}
	return writeSchedule(cmd.OutOrStdout(), s)
}

func writeSchedule(w io.Writer, s captioner.Schedule) error {
	trains := "if the data has changed"
	if s.Force {
		trains = "always"
	}
	fmt.Fprintf(w, "schedule  %s\ntimes     %s\noverlap   %s\ntrains    %s\nnext      %s\n",
		s.Name, timesOf(s), cmp.Or(s.Overlap, captioner.OverlapSkip), trains, nextOf(s))
	if len(s.Runs) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "RUN\tSTATE\tSTARTED")
	for _, r := range s.Runs {
		fmt.Fprintf(table, "%s\t%s\t%s\n", r.ID, r.State, r.StartedAt.Local().Format(time.DateTime))
	}
	return table.Flush()
}

// timesOf says when a schedule starts runs.
func timesOf(s captioner.Schedule) string {
	text := s.Cron
	switch {
	case s.Cron != "":
		text += " " + cmp.Or(s.TimeZone, "UTC")
	case s.Every != 0:
		text = "every " + time.Duration(s.Every).String()
	default:
		text = "see Temporal" // where another client has made it
	}
	if s.Jitter != 0 {
		text += ", up to " + time.Duration(s.Jitter).String() + " later"
	}
	return text
}

// nextOf says when the next run starts.
func nextOf(s captioner.Schedule) string {
	switch {
	case s.Paused:
		return "paused"
	case len(s.Next) == 0:
		return "never"
	}
	return s.Next[0].Local().Format(time.DateTime)
}
