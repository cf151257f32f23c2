package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/captioner/captioner/internal/app"
	"github.com/captioner/captioner/internal/telemetry"
)

// global holds the flags that every command has.
type global struct {
	dataDir  string
	database string
	blobs    string
	server   string
	json     bool
	logLevel string
}

func newRootCommand() *cobra.Command {
	g := &global{}
	root := &cobra.Command{
		Use:           "captioner",
		Short:         "Train, score, version and serve image captioning models",
		SilenceUsage:  true,
		SilenceErrors: true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if err := flagsFromEnvironment(cmd.Flags()); err != nil {
				return err
			}
			return nil
		},
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	flags := root.PersistentFlags()
	flags.StringVar(&g.dataDir, "data-dir", "data", "folder of the local mode's state")
	flags.StringVar(&g.database, "database", "", "address of the database, sqlite:PATH or postgres://USER:PASSWORD@HOST:PORT/NAME (default: captioner.db in the data folder)")
	flags.StringVar(&g.blobs, "blobs", "", "address of the object store of the blobs, s3://BUCKET?region=REGION, with &endpoint=URL&use_path_style=true for a server other than Amazon's; credentials in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (default: blobs in the data folder)")
	flags.StringVar(&g.server, "server", "http://127.0.0.1:8000", "address of the API")
	flags.BoolVar(&g.json, "json", false, "print JSON")
	flags.StringVar(&g.logLevel, "log-level", "", "debug, info, warn or error (default: warn for demo and train, info for servers)")

	root.AddCommand(
		newUpCommand(g), newDemoCommand(g), newServeCommand(g), newWorkerCommand(g),
		newTrainCommand(g), newPredictCommand(g), newScoreCommand(g),
		newRunsCommand(g), newScheduleCommand(g), newModelsCommand(g), newDeploymentsCommand(g),
		newDataCommand(g), newConfigCommand(g), newMigrateCommand(g), newGCCommand(g), newBackupCommand(g), newRestoreCommand(g), newFsckCommand(g),
		newDoctorCommand(g), newReadyCommand(g), newVersionCommand(g),
	)
	wrapUsageErrors(root)
	return root
}

// wrapUsageErrors makes wrong arguments and unknown subcommands exit with 2.
func wrapUsageErrors(cmd *cobra.Command) {
	if args := cmd.Args; args != nil {
		cmd.Args = func(cmd *cobra.Command, a []string) error {
			if err := args(cmd, a); err != nil {
				return usageError{fmt.Errorf("%w (see %s --help)", err, cmd.CommandPath())}
			}
			return nil
		}
	}
	if cmd.HasSubCommands() && cmd.RunE == nil {
		cmd.Args = func(cmd *cobra.Command, a []string) error {
			if len(a) > 0 {
				return usageError{fmt.Errorf("unknown command %q for %q (see %s --help)", a[0], cmd.CommandPath(), cmd.CommandPath())}
			}
			return nil
		}
		cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	}
	for _, sub := range cmd.Commands() {
		wrapUsageErrors(sub)
	}
}

// flagsFromEnvironment gives each flag that was not on the command line the
// value of its variable: --data-dir has CAPTIONER_DATA_DIR.
func flagsFromEnvironment(flags *pflag.FlagSet) error {
	var firstErr error
	flags.VisitAll(func(f *pflag.Flag) {
		name := "CAPTIONER_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		value, ok := os.LookupEnv(name)
		if f.Changed || !ok || f.Name == "help" {
			return
		}
		if err := flags.Set(f.Name, value); err != nil && firstErr == nil {
			firstErr = usageError{fmt.Errorf("environment variable %s: %w", name, err)}
		}
	})
	return firstErr
}

// logger returns a logger on w of the level asked for.
func (g *global) logger(w io.Writer, fallback slog.Level) (*slog.Logger, error) {
	level := fallback
	if g.logLevel != "" {
		if err := level.UnmarshalText([]byte(g.logLevel)); err != nil {
			return nil, usageError{fmt.Errorf("--log-level %q: use debug, info, warn or error", g.logLevel)}
		}
	}
	return telemetry.NewLogger(w, level), nil
}

// storage opens the database and the blobs below the data folder.
func (g *global) storage(cmd *cobra.Command) (*app.Storage, error) {
	dir, err := filepath.Abs(g.dataDir)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(dir); err != nil {
		return nil, usageError{fmt.Errorf("the data folder %s does not exist: name it with --data-dir", dir)}
	}
	return app.OpenStorage(cmd.Context(), app.StorageOptions{DataDir: dir, Database: g.database, Blobs: g.blobs})
}

// printJSON writes v with indentation.
func printJSON(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(v)
}
