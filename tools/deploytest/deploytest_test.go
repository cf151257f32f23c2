package deploytest

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/deploy"
)

const root = "../.."

// version is what files are pinned to.
var version = captioner.DigestOf([]byte("a version"))

// rendered are the deploy files as a run leaves them.
func rendered(t *testing.T) map[string][]byte {
	t.Helper()
	files, err := deploy.Render(version)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// command is a command of captioner as docs/commands.md describes it, which a
// test of cmd/captioner holds against the program.
type command struct{ flags map[string]bool }

var (
	commandHeading = regexp.MustCompile("(?m)^## captioner(?: (.+))?$")
	commandFlag    = regexp.MustCompile("(?m)^\\| `--([a-z0-9-]+)")
)

// commands returns the commands by name, such as "migrate up". A command has the
// flags that all have, too.
func commands(t *testing.T) map[string]command {
	t.Helper()
	page := read(t, "docs/commands.md")
	headings := commandHeading.FindAllStringSubmatchIndex(page, -1)
	if len(headings) < 15 {
		t.Fatalf("docs/commands.md has %d commands, want all", len(headings))
	}
	flags := func(text string) map[string]bool {
		found := map[string]bool{}
		for _, f := range commandFlag.FindAllStringSubmatch(text, -1) {
			found[f[1]] = true
		}
		return found
	}
	global := flags(page[:headings[0][0]])
	if !global["data-dir"] {
		t.Fatalf("flags of all commands: %v", global)
	}
	all := map[string]command{}
	for i, h := range headings {
		end := len(page)
		if i+1 < len(headings) {
			end = headings[i+1][0]
		}
		name := ""
		if h[2] >= 0 {
			name = page[h[2]:h[3]]
		}
		c := command{flags: flags(page[h[1]:end])}
		for f := range global {
			c.flags[f] = true
		}
		all[name] = c
	}
	return all
}

// checkCommand checks that the arguments are a command line of captioner.
func checkCommand(t *testing.T, where string, args []string) {
	t.Helper()
	all := commands(t)
	var words []string
	for len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		words, args = append(words, args[0]), args[1:]
	}
	c, ok := all[strings.Join(words, " ")]
	if !ok {
		t.Errorf("%s: captioner has no command %q", where, words)
		return
	}
	for _, arg := range args {
		name, value, hasValue := strings.Cut(strings.TrimPrefix(arg, "--"), "=")
		switch {
		case name == "help":
		case !strings.HasPrefix(arg, "--") || !hasValue || value == "":
			t.Errorf("%s: write %q as --flag=value", where, arg)
		case !c.flags[name]:
			t.Errorf("%s: captioner %s has no flag --%s", where, strings.Join(words, " "), name)
		}
	}
}

// checkVariable checks that somebody reads a variable: captioner, for one of its
// flags, or a library that the guide names.
func checkVariable(t *testing.T, where, name string) {
	t.Helper()
	flag, own := strings.CutPrefix(name, "CAPTIONER_")
	if !own {
		if !strings.Contains(read(t, "DOCS.md"), "`"+name+"`") {
			t.Errorf("%s: the guide does not know the variable %s", where, name)
		}
		return
	}
	flag = strings.ToLower(strings.ReplaceAll(flag, "_", "-"))
	for _, c := range commands(t) {
		if c.flags[flag] {
			return
		}
	}
	t.Errorf("%s: no command has the flag --%s, which %s would set", where, flag, name)
}
