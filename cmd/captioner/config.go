package main

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/config"
)

func newConfigCommand(g *global) *cobra.Command {
	cmd := &cobra.Command{Use: "config", Short: "Show and check configurations"}
	show := &cobra.Command{
		Use:   "show [FILE]",
		Short: "Print a configuration with every default filled in",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := readConfig(cmd, args)
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
			file, err := readConfigFile(cmd, args[0])
			if err != nil {
				return err
			}
			if _, err := config.ParseOn(file.data, file.format, config.Machine{Base: file.dir}); err != nil {
				return err
			}
			if g.json {
				return printJSON(cmd.OutOrStdout(), map[string]any{"ok": true})
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: no problem found\n", args[0])
			return err
		},
	}
	cmd.AddCommand(show, check)
	return cmd
}

// readConfig reads the file named by the first argument; without one it
// returns the defaults. Relative paths in a file are relative to its folder.
func readConfig(cmd *cobra.Command, args []string) (captioner.Config, error) {
	if len(args) == 0 || args[0] == "" {
		return captioner.DefaultConfig(), nil
	}
	file, err := readConfigFile(cmd, args[0])
	if err != nil {
		return captioner.Config{}, err
	}
	cfg, err := config.Parse(file.data, file.format)
	if err != nil {
		return captioner.Config{}, err
	}
	return config.Resolve(cfg, file.dir), nil
}

// configFile is a configuration that has not been parsed.
type configFile struct {
	data   []byte
	format string
	// dir is what relative paths are relative to: the folder of the file, or
	// the working folder for standard input.
	dir string
}

func readConfigFile(cmd *cobra.Command, name string) (configFile, error) {
	in, err := openInput(cmd, name)
	if err != nil {
		return configFile{}, err
	}
	defer in.Close()
	file := configFile{format: "yaml"}
	if file.data, err = io.ReadAll(in); err != nil {
		return configFile{}, captioner.Wrap(captioner.Invalid, err, "read %s", name)
	}
	if strings.EqualFold(filepath.Ext(name), ".json") {
		file.format = "json"
	}
	if name == "-" {
		name = "."
	} else {
		name = filepath.Dir(name)
	}
	file.dir, err = filepath.Abs(name)
	return file, err
}
