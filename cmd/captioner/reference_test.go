package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

var update = flag.Bool("update", false, "write docs/commands.md")

const referenceHead = `# Commands

Each flag is also a variable: ` + "`--data-dir` is `CAPTIONER_DATA_DIR`" + `; what stands on the
command line wins. ` + "`--json`" + ` makes every command print JSON. Exit codes: 0 done, 1
failed, 2 wrong usage or invalid input, 130 interrupted.

This page is made from the commands:
` + "`go test ./cmd/captioner -run TestReference -update`" + `.

## Flags of every command

`

// TestReference holds docs/commands.md against the commands that it is made of.
func TestReference(t *testing.T) {
	t.Setenv("PORT", "") // a default depends on it
	os.Unsetenv("PORT")
	path := filepath.Join("..", "..", "docs", "commands.md")
	want := reference(newRootCommand())
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("docs/commands.md is stale (-code +file); run this test with -update:\n%s", diff)
	}
}

func reference(root *cobra.Command) string {
	var b strings.Builder
	b.WriteString(referenceHead)
	writeFlags(&b, root.PersistentFlags())
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		if cmd.Hidden || cmd.Name() == "help" || cmd.Name() == "completion" {
			return
		}
		if cmd != root {
			fmt.Fprintf(&b, "\n## %s\n\n", cmd.CommandPath())
			text := cmd.Long
			if text == "" {
				text = cmd.Short + "."
			}
			if !cmd.HasSubCommands() {
				fmt.Fprintf(&b, "```\n%s\n```\n\n", cmd.UseLine())
			}
			b.WriteString(strings.TrimSpace(text) + "\n")
			if cmd.LocalNonPersistentFlags().HasAvailableFlags() {
				b.WriteString("\n")
				writeFlags(&b, cmd.LocalNonPersistentFlags())
			}
		}
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
	}
	walk(root)
	return b.String()
}

func writeFlags(b *strings.Builder, flags *pflag.FlagSet) {
	b.WriteString("| flag | default | what it is |\n| --- | --- | --- |\n")
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" {
			return
		}
		kind, usage := pflag.UnquoteUsage(f)
		fallback := "`" + f.DefValue + "`"
		if f.DefValue == "" || f.DefValue == "[]" || f.DefValue == "false" || f.DefValue == "0" && strings.Contains(usage, "default") {
			fallback = ""
		}
		fmt.Fprintf(b, "| `%s` | %s | %s |\n", strings.TrimSpace("--"+f.Name+" "+kind), fallback, strings.ReplaceAll(usage, "|", `\|`))
	})
}
