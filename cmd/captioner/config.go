package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/config"
)

func newConfigCommand(g *global) *cobra.Command {
	cmd := &cobra.Command{Use: "config", Short: "Show, check and import configurations"}
	preset := ""
	show := &cobra.Command{
		Use:   "show [FILE]",
		Short: "Print a configuration with every default filled in",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			name := ""
			if len(args) > 0 {
				name = args[0]
			}
			file, err := readConfigFile(cmd, name, preset)
			if err != nil {
				return err
			}
			cfg, err := file.parse()
			if err != nil {
				return err
			}
			if g.json {
				return printJSON(cmd.OutOrStdout(), cfg)
			}
			_, err = cmd.OutOrStdout().Write(config.Marshal(cfg))
			return err
		},
	}
	check := &cobra.Command{
		Use:   "check FILE",
		Short: "Check a configuration and the paths it names, and list every problem",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			file, err := readConfigFile(cmd, args[0], "")
			if err != nil {
				return err
			}
			if _, err := file.check(); err != nil {
				return err
			}
			if g.json {
				return printJSON(cmd.OutOrStdout(), map[string]any{"ok": true})
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: no problem found\n", args[0])
			return err
		},
	}
	addPresetFlag(show, &preset)
	cmd.AddCommand(show, check, newConfigImportCommand(g))
	return cmd
}

func newConfigImportCommand(g *global) *cobra.Command {
	return &cobra.Command{
		Use:   "import FILE",
		Short: "Convert a configuration of the original system, and say what has changed",
		Long: `Converts a configuration of the original system (YAML with flat keys) and prints it
as one of captioner; what became of each key, and why, goes to standard error.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			file, err := readConfigFile(cmd, args[0], "")
			if err != nil {
				return err
			}
			imported, problems := config.ImportOriginal(file.data)
			if imported.File == nil {
				return problems
			}
			if g.json {
				err = printJSON(cmd.OutOrStdout(), struct {
					File string `json:"file"`
					config.Import
				}{string(imported.File), imported})
			} else {
				printChanges(cmd.ErrOrStderr(), imported.Changes)
				_, err = cmd.OutOrStdout().Write(imported.File)
			}
			return cmp.Or(err, problems)
		},
	}
}

// printChanges writes a line for each key, and why it is not the same below it.
func printChanges(w io.Writer, changes []config.Change) {
	for _, c := range changes {
		if len(c.Fields) == 0 {
			fmt.Fprintf(w, "%s: %s  is left out\n", c.Key, c.Old)
		} else {
			fmt.Fprintf(w, "%s: %s  is %s: %s\n", c.Key, c.Old, strings.Join(c.Fields, ", "), c.New)
		}
		if c.Why != "" {
			fmt.Fprintf(w, "    %s\n", c.Why)
		}
	}
}

// addPresetFlag adds the flag that stands for a file with nothing but a preset.
func addPresetFlag(cmd *cobra.Command, preset *string) {
	cmd.Flags().StringVar(preset, "preset", "", "a preset instead of a file: "+strings.Join(config.Presets(), ", ")+"; a file names its own as preset: NAME")
}

// configFile is a configuration that has not been parsed.
type configFile struct {
	data   []byte
	format string
	// dir is what relative paths are relative to: the folder of the file, or
	// the working folder for standard input.
	dir string
}

// parse applies the rules that hold anywhere.
func (f configFile) parse() (captioner.Config, error) {
	cfg, err := config.Parse(f.data, f.format)
	if err != nil {
		return captioner.Config{}, err
	}
	return config.Resolve(cfg, f.dir), nil
}

// check applies them together with those of this machine, where the run would
// write to the folders.
func (f configFile) check(workDirs ...string) (captioner.Config, error) {
	return config.ParseOn(f.data, f.format, config.Machine{Base: f.dir, WorkDirs: workDirs})
}

// locate adds to the problems of err their places in the file.
func (f configFile) locate(err error) error {
	var e *captioner.Error
	if !errors.As(err, &e) || len(e.Problems) == 0 {
		return err
	}
	located := *e
	located.Problems = config.Locate(e.Problems, f.data, f.format)
	return &located
}

// readConfigFile reads a file, standard input for "-", and nothing, which means
// the defaults, for no name. A preset stands for a file that names only it.
func readConfigFile(cmd *cobra.Command, name, preset string) (configFile, error) {
	switch {
	case preset != "" && name != "":
		return configFile{}, usageError{fmt.Errorf("--preset stands for a file: write preset: %s into %s instead", preset, name)}
	case preset != "":
		data, err := json.Marshal(map[string]string{"preset": preset})
		return configFile{data: data, format: config.JSON}, err
	case name == "":
		return configFile{format: config.YAML}, nil
	}
	in, err := openInput(cmd, name)
	if err != nil {
		return configFile{}, err
	}
	defer in.Close()
	file := configFile{format: config.YAML}
	if file.data, err = io.ReadAll(in); err != nil {
		return configFile{}, captioner.Wrap(captioner.Invalid, err, "read %s", name)
	}
	if strings.EqualFold(filepath.Ext(name), ".json") {
		file.format = config.JSON
	}
	if name == "-" {
		name = "."
	} else {
		name = filepath.Dir(name)
	}
	file.dir, err = filepath.Abs(name)
	return file, err
}
