package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

var (
	guideBlock   = regexp.MustCompile("(?ms)^```[a-z]*\n(.*?)^```$")
	guideInline  = regexp.MustCompile("`((?:bin/)?captioner [^`]+)`")
	guideComment = regexp.MustCompile(`\s+#.*$`)
	guideSpace   = regexp.MustCompile(`\s+`)
)

// TestGuideCommands parses the command lines that the guide gives: commands and
// flags must exist. What stands for a value, RUN or FILE, is taken as one.
func TestGuideCommands(t *testing.T) {
	root := filepath.Join("..", "..")
	count := 0
	for _, page := range []string{"README.md", "DOCS.md", "docs/runbook.md", "docs/extending.md", "docs/configuration.md"} {
		data, err := os.ReadFile(filepath.Join(root, page))
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range guideCommands(string(data)) {
			count++
			if err := parseCommand(line); err != nil {
				t.Errorf("%s: %q: %v", page, line, err)
			}
		}
	}
	if count < 30 {
		t.Errorf("%d command lines were parsed, want more", count)
	}
}

// guideCommands returns the lines of captioner's in a page.
func guideCommands(page string) []string {
	var lines []string
	for _, block := range guideBlock.FindAllStringSubmatch(page, -1) {
		text := strings.ReplaceAll(block[1], "\\\n", " ")
		for _, line := range strings.Split(text, "\n") {
			line = strings.TrimPrefix(line, "$ ")
			if strings.HasPrefix(line, "captioner ") || strings.HasPrefix(line, "bin/captioner ") {
				lines = append(lines, guideComment.ReplaceAllString(line, ""))
			}
		}
	}
	for _, inline := range guideInline.FindAllStringSubmatch(guideBlock.ReplaceAllString(page, ""), -1) {
		lines = append(lines, guideSpace.ReplaceAllString(inline[1], " "))
	}
	return lines
}

// parseCommand finds the command and parses its flags and arguments.
func parseCommand(line string) error {
	line, _, _ = strings.Cut(line, " |")
	line, _, _ = strings.Cut(line, " <")
	line, _, _ = strings.Cut(line, " >")
	words := regexp.MustCompile(`"[^"]*"|'[^']*'|\S+`).FindAllString(line, -1)[1:]
	root := newRootCommand()
	cmd, rest, err := root.Find(words)
	if err != nil {
		return err
	}
	if cmd == root {
		return root.Args(root, words)
	}
	cmd.InheritedFlags() // adds those of the root
	if err := cmd.ParseFlags(rest); err != nil {
		return err
	}
	if cmd.HasSubCommands() && cmd.Flags().NArg() == 0 {
		return nil // the group is meant
	}
	named := 0
	cmd.Flags().Visit(func(*pflag.Flag) { named++ })
	if cmd.Flags().NArg() == 0 && named == 0 {
		return nil // the command is only named
	}
	return cmd.ValidateArgs(cmd.Flags().Args())
}
