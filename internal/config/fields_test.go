package config

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"

	"github.com/captioner/captioner"
)

// TestEveryFieldHasARule adds up what the rules cover.
func TestEveryFieldHasARule(t *testing.T) {
	covered := check(captioner.DefaultConfig()).covered
	known := map[string]bool{}
	for _, name := range names() {
		known[name] = true
		if !covered[name] {
			t.Errorf("%s has no static rule: add one to Check, or note that any value will do", name)
		}
	}
	for name := range covered {
		if !known[name] {
			t.Errorf("there is a rule for %s, which is no field", name)
		}
	}
	for _, p := range (&captioner.Config{}).Paths() {
		if !known[p.Field] {
			t.Errorf("%s is no field", p.Field)
		}
	}
}

// TestEveryFieldIsDocumented reads the source: each field has a comment, or
// follows one whose comment names it, or the comment of its struct covers it.
func TestEveryFieldIsDocumented(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join("..", "..", "config.go"), nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	fields := 0
	for _, decl := range file.Decls {
		group, ok := decl.(*ast.GenDecl)
		if !ok || group.Tok != token.TYPE {
			continue
		}
		spec := group.Specs[0].(*ast.TypeSpec)
		body, ok := spec.Type.(*ast.StructType)
		if !ok || spec.Name.Name == "Config" {
			continue
		}
		if group.Doc.Text() == "" {
			t.Errorf("%s has no comment", spec.Name)
		}
		shared := ""
		if spec.Name.Name == "SplitFiles" || spec.Name.Name == "SplitRatios" {
			shared = "Train Validation Test" // named for the splits, said once
		}
		for _, field := range body.Fields.List {
			if text := field.Doc.Text(); text != "" {
				shared = text
			}
			for _, name := range field.Names {
				fields++
				if field.Doc.Text() == "" && !strings.Contains(shared, name.Name) {
					t.Errorf("%s.%s has no comment", spec.Name, name)
				}
			}
		}
	}
	if want := len(names()); fields < want {
		t.Errorf("%d fields in the source, %d in the type", fields, want)
	}
}

func TestDistance(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"abc", "abc", 0}, {"abc", "", 3}, {"abc", "acb", 1}, {"abc", "abd", 1}, {"abc", "ab", 1}, {"kitten", "sitting", 3}} {
		if got := distance(tt.a, tt.b); got != tt.want {
			t.Errorf("distance(%q, %q) = %d, want %d", tt.a, tt.b, got, tt.want)
		}
		if got := distance(tt.b, tt.a); got != tt.want {
			t.Errorf("distance(%q, %q) = %d, want %d", tt.b, tt.a, got, tt.want)
		}
	}
}
