package main

import (
	"fmt"
	"io"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/captioner/captioner/internal/backup"
)

func newBackupCommand(g *global) *cobra.Command {
	return &cobra.Command{
		Use:   "backup DIR|FILE.tar",
		Short: "Copy the data folder while it is in use, and check the copy",
		Long: `Copies records, blobs and the runs under way to a new folder or tar file, while
servers serve and runs train, and reads the copy again: every blob, the databases,
and that everything is there which the records name.

Records in PostgreSQL are not part of it. Save them first, with the blobs after:

  pg_dump --format=custom --file=captioner.pgdump "$CAPTIONER_DATABASE"
  captioner backup DIR

The cache and the pictures of data sets are not part of it either.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			storage, err := g.storage(cmd)
			if err != nil {
				return err
			}
			defer storage.Close()
			m, err := storage.Backup(cmd.Context(), version, args[0])
			if err != nil {
				return err
			}
			if g.json {
				return printJSON(cmd.OutOrStdout(), m)
			}
			return printBackup(cmd.OutOrStdout(), "saved and checked", m,
				"the records are in PostgreSQL: use a pg_dump from before this backup")
		},
	}
}

func newRestoreCommand(g *global) *cobra.Command {
	return &cobra.Command{
		Use:   "restore DIR|FILE.tar",
		Short: "Make a new data folder of a backup",
		Long: `Makes the data folder (--data-dir), which must be empty or missing, of a backup,
and checks everything on the way. captioner up then serves from it, and runs that were
under way go on.

Records in PostgreSQL are restored into an empty database by

  pg_restore --dbname="$CAPTIONER_DATABASE" captioner.pgdump`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			m, err := backup.Restore(cmd.Context(), args[0], g.dataDir)
			if err != nil {
				return err
			}
			if g.json {
				return printJSON(cmd.OutOrStdout(), m)
			}
			return printBackup(cmd.OutOrStdout(), "restored and checked", m,
				"the records were in PostgreSQL: restore them with pg_restore")
		},
	}
}

func printBackup(w io.Writer, what string, m backup.Manifest, elsewhere string) error {
	fmt.Fprintf(w, "%s: %s, %s, %s\n", what, count(m.Blobs, "blob"), humanize.IBytes(uint64(m.Bytes)), count(len(m.Databases), "database"))
	if m.Records == "postgres" {
		_, err := fmt.Fprintln(w, elsewhere)
		return err
	}
	return nil
}
