package main

import (
	"context"
	"fmt"
	"io"
	"os/user"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/deployment"
)

func newModelsPromoteCommand(g *global) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:   "promote VERSION",
		Short: "Make a version live and wait until the servers serve it",
		Long: `Verifies every file of the version, moves the alias "production" to it and waits
until every running server serves it. If one cannot, the alias goes back to where
it was. Promoting the version that is live changes nothing.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return deployByHand(cmd, g, func(ctx context.Context, d *deployment.Deployer) (captioner.Deployment, error) {
				return d.Promote(ctx, args[0], cliActor(), reason, "")
			})
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "promoted by hand", "why, for the deployment log")
	return cmd
}

func newModelsRollbackCommand(g *global) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:   "rollback",
		Short: "Make the version live again that was before the one that is",
		Long: `Takes back the newest promotion, of a run or by hand: the version that was live
before is verified and served again, without training. Rolling back twice goes two
versions back. What a rollback has left behind is promoted by name.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return deployByHand(cmd, g, func(ctx context.Context, d *deployment.Deployer) (captioner.Deployment, error) {
				return d.Rollback(ctx, cliActor(), reason, "")
			})
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "rolled back by hand", "why, for the deployment log")
	return cmd
}

// deployByHand runs a deployment on the storage of the data folder and prints
// what has become of it.
func deployByHand(cmd *cobra.Command, g *global, do func(context.Context, *deployment.Deployer) (captioner.Deployment, error)) error {
	storage, err := g.storage(cmd)
	if err != nil {
		return err
	}
	defer storage.Close()
	out, err := do(cmd.Context(), storage.Deployer())
	if err != nil {
		return err
	}
	if g.json {
		return printJSON(cmd.OutOrStdout(), out)
	}
	return printDeployment(cmd.OutOrStdout(), out)
}

func printDeployment(w io.Writer, d captioner.Deployment) error {
	what := "is live"
	if !d.Moved {
		what = "was live already"
	}
	fmt.Fprintf(w, "version %s %s, generation %d\n", d.Version, what, d.Generation)
	if d.Moved && d.Previous != "" {
		fmt.Fprintf(w, "before it was version %s\n", d.Previous)
	}
	if d.Note != "" {
		_, err := fmt.Fprintln(w, d.Note)
		return err
	}
	_, err := fmt.Fprintf(w, "served by %s\n", count(d.Servers, "running server"))
	return err
}

// count gives "1 server", "2 servers".
func count(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return strconv.Itoa(n) + " " + noun
}

// cliActor is the user in the deployment log.
func cliActor() string {
	u, err := user.Current()
	if err != nil {
		return "cli"
	}
	return "cli:" + u.Username
}

func newDeploymentsCommand(g *global) *cobra.Command {
	var at string
	var limit int
	cmd := &cobra.Command{
		Use:   "deployments",
		Short: "Show what was live, since when, by whom and why",
		Long: `Prints the deployment log, newest first. With --at it prints the deployment that
was in effect at that time: "2026-05-01T12:00:00Z", or in local time
"2026-05-01 12:00:00", "2026-05-01 12:00", "2026-05-01".`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 1 {
				return usageError{fmt.Errorf("--limit %d: must be at least 1", limit)}
			}
			storage, err := g.storage(cmd)
			if err != nil {
				return err
			}
			defer storage.Close()
			moves, err := deploymentsAt(cmd.Context(), storage.Store, at, limit)
			if err != nil {
				return err
			}
			if g.json {
				return printJSON(cmd.OutOrStdout(), map[string]any{"deployments": moves})
			}
			return printDeployments(cmd.OutOrStdout(), moves)
		},
	}
	cmd.Flags().StringVar(&at, "at", "", "a time (default: the whole log)")
	cmd.Flags().IntVar(&limit, "limit", listLimit, "how many to print at most")
	return cmd
}

// deploymentsAt returns the log or, where a time is given, the row of it that
// was in effect then, if any.
func deploymentsAt(ctx context.Context, store captioner.Store, at string, limit int) ([]captioner.AliasMove, error) {
	list := []captioner.AliasMove{} // an array in JSON, never null
	if at == "" {
		moves, err := store.AliasMoves(ctx, captioner.Production, limit)
		return append(list, moves...), err
	}
	when, err := parseTime(at)
	if err != nil {
		return nil, err
	}
	move, err := store.AliasMoveAt(ctx, captioner.Production, when)
	if captioner.KindOf(err) == captioner.NotFound {
		return list, nil
	}
	return append(list, move), err
}

func parseTime(text string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, time.DateTime, "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, usageError{fmt.Errorf(`--at %q: give a time such as "2026-05-01T12:00:00Z" or "2026-05-01 12:00:00"`, text)}
}

func printDeployments(w io.Writer, moves []captioner.AliasMove) error {
	if len(moves) == 0 {
		_, err := fmt.Fprintln(w, "no version was live")
		return err
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "SINCE\tVERSION\tGENERATION\tKIND\tBY\tREASON")
	for _, m := range moves {
		fmt.Fprintf(table, "%s\t%s\t%d\t%s\t%s\t%s\n", m.MovedAt.Local().Format(time.DateTime),
			m.Version.Short(), m.Generation, m.Kind, m.Actor, m.Reason)
	}
	return table.Flush()
}
