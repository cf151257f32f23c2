package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/captioner/captioner/internal/app"
	"github.com/captioner/captioner/internal/store"
)

func newMigrateCommand(g *global) *cobra.Command {
	cmd := &cobra.Command{Use: "migrate", Short: "Change or show the schema of the database"}
	address := func() (string, error) {
		if g.database != "" {
			return g.database, nil
		}
		dir, err := filepath.Abs(g.dataDir)
		if err != nil {
			return "", err
		}
		return app.DatabaseAddress(dir), os.MkdirAll(dir, 0o755)
	}
	run := func(use, short string, action func(ctx context.Context, address string) (store.Status, error)) *cobra.Command {
		return &cobra.Command{Use: use, Short: short, Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
			address, err := address()
			if err != nil {
				return err
			}
			status, err := action(cmd.Context(), address)
			if err != nil {
				return err
			}
			if g.json {
				return printJSON(cmd.OutOrStdout(), status)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "schema %d of %d\n", status.Version, status.Latest)
			return err
		}}
	}
	cmd.AddCommand(
		run("up", "Bring the schema to the newest version", store.MigrateUp),
		run("down", "Take back the newest version of the schema", func(ctx context.Context, address string) (store.Status, error) {
			return store.MigrateDown(ctx, address, 1)
		}),
		run("status", "Show the version of the schema", store.MigrationStatus),
	)
	return cmd
}
