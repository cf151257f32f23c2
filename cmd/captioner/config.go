package main

import (
	"fmt"
	"io"
	"os"
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
			cfg, err := readConfig(cmd, args)
			if err != nil {
				return err
			}
			if problems := config.CheckMachine(cfg, ""); len(problems) > 0 {
				return &captioner.Error{Kind: captioner.Invalid, Message: args[0] + " cannot be used on this machine", Problems: problems}
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
	in, err := openInput(cmd, args[0])
	if err != nil {
		return captioner.Config{}, err
	}
	defer in.Close()
	data, err := io.ReadAll(in)
	if err != nil {
		return captioner.Config{}, err
	}
	format := "yaml"
	if strings.EqualFold(filepath.Ext(args[0]), ".json") {
		format = "json"
	}
	cfg, err := config.Parse(data, format)
	if err != nil {
		return captioner.Config{}, err
	}
	base, err := os.Getwd()
	if err != nil {
		return captioner.Config{}, err
	}
	if args[0] != "-" {
		if base, err = filepath.Abs(filepath.Dir(args[0])); err != nil {
			return captioner.Config{}, err
		}
	}
	return config.Resolve(cfg, base), nil
}
