// Package docs_test reads the project's pages: links must lead somewhere, code
// must be that which is compiled, and what is named must exist.
package docs_test

import (
	"flag"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the examples into the pages that show them")

const root = ".."

// pages returns the paths of all pages, below the root.
func pages(t *testing.T) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() && path != root && (strings.HasPrefix(name, ".") || slices.Contains([]string{"bin", "data", "lib", "node_modules", "testdata", "shared"}, name)) {
			return fs.SkipDir
		}
		if filepath.Ext(name) == ".md" {
			found = append(found, path)
		}
		return nil
	})
	if err != nil || len(found) < 10 {
		t.Fatalf("found the pages %v, %v, want all of them", found, err)
	}
	return found
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

var (
	fence   = regexp.MustCompile("(?ms)^```.*?^```$")
	code    = regexp.MustCompile("`[^`]*`")
	heading = regexp.MustCompile(`(?m)^#+ +(.*)$`)
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
)

// prose is a page without its blocks of code.
func prose(page string) string { return fence.ReplaceAllString(page, "") }

// anchors are the names of a page's headings as GitHub makes them.
func anchors(page string) map[string]bool {
	names := map[string]bool{}
	for _, h := range heading.FindAllStringSubmatch(prose(page), -1) {
		text := link.ReplaceAllString(strings.ReplaceAll(h[1], "[", ""), "")
		name := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r > 0x7f:
				return r
			}
			return -1
		}, strings.ToLower(text))
		for base, n := name, 1; names[name]; n++ {
			name = base + "-" + string(rune('0'+n))
		}
		names[name] = true
	}
	return names
}

// TestLinks follows each link to a file or a heading of the project.
func TestLinks(t *testing.T) {
	followed := 0
	for _, page := range pages(t) {
		text := code.ReplaceAllString(prose(read(t, page)), "")
		for _, found := range link.FindAllStringSubmatch(text, -1) {
			target := found[1]
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			followed++
			path, anchor, _ := strings.Cut(target, "#")
			file := page
			if path != "" {
				file = filepath.Join(filepath.Dir(page), path)
			}
			if _, err := os.Stat(file); err != nil {
				t.Errorf("%s: the link %s leads nowhere", page, target)
				continue
			}
			if anchor != "" && !anchors(read(t, file))[anchor] {
				t.Errorf("%s: %s has no heading #%s", page, file, anchor)
			}
		}
	}
	if followed < 20 {
		t.Errorf("%d links were followed, want more", followed)
	}
}

// snippet is a block of code below a comment that names its file.
var snippet = regexp.MustCompile("(?s)<!-- (docs/examples/[a-z0-9_/]+\\.go) -->\n```go\n.*?```\n")

// TestSnippets compares the examples in the pages with the files that are
// compiled and tested: all below the imports.
func TestSnippets(t *testing.T) {
	shown := map[string]bool{}
	for _, page := range pages(t) {
		text := read(t, page)
		want := snippet.ReplaceAllStringFunc(text, func(block string) string {
			file := snippet.FindStringSubmatch(block)[1]
			shown[file] = true
			return "<!-- " + file + " -->\n```go\n" + belowImports(t, filepath.Join(root, file)) + "\n```\n"
		})
		if *update && want != text {
			if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
			text = want
		}
		if diff := cmp.Diff(want, text); diff != "" {
			t.Errorf("%s shows other code than is compiled (-code +page); run this test with -update:\n%s", page, diff)
		}
	}
	examples, err := filepath.Glob("examples/*/*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range examples {
		if name := "docs/" + file; !strings.HasSuffix(file, "_test.go") && !shown[name] {
			t.Errorf("no page shows %s", name)
		}
	}
}

// belowImports returns the part of a Go file below its imports.
func belowImports(t *testing.T, path string) string {
	t.Helper()
	source := read(t, path)
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, path, source, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	end := file.Name.End()
	for _, decl := range file.Decls {
		end = decl.End()
	}
	return strings.TrimSpace(source[files.Position(end).Offset:])
}

// TestTargetsExist looks for each `make` target that a page names.
func TestTargetsExist(t *testing.T) {
	makefile := read(t, filepath.Join(root, "Makefile"))
	named := regexp.MustCompile("(?m)(?:^|`)make ([a-z][a-z0-9-]*)")
	count := 0
	for _, page := range pages(t) {
		for _, found := range named.FindAllStringSubmatch(read(t, page), -1) {
			count++
			if !regexp.MustCompile(`(?m)^(\.PHONY: .*\b)?` + regexp.QuoteMeta(found[1]) + `(:| |$)`).MatchString(makefile) {
				t.Errorf("%s: there is no target %q", page, found[1])
			}
		}
	}
	if count < 10 {
		t.Errorf("%d targets are named, want more", count)
	}
}
