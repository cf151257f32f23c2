package api_test

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/api/apitest"
)

// notForClients are the codes of errors that no HTTP client sees, and why.
var notForClients = map[string]string{
	"bad_bundle":         "bundles are made by runs",
	"bad_manifest":       "a damaged manifest is told as bundle_damaged",
	"cancelled":          "the outcome of a run, not of a request",
	"diverged":           "fails a run",
	"engine_ending":      "between an engine and its client",
	"data_changed":       "fails a run",
	"engine_failed":      "fails a run",
	"engine_protocol":    "is internal",
	"invalid_captions":   "fails a run",
	"invalid_score_file": "a file of the command line's",
	"schema_newer":       "stops the server from starting",
	"database_foreign":   "stops the server from starting",
	"database_damaged":   "stops the server from starting",
	"stale_attempt":      "fences off a step or a training that was replaced",
	"stopped":            "between a worker and Temporal",
	"superseded":         "between a worker and Temporal",
	"temporal_ended":     "ends the local mode",
	"tensorflow_version": "is internal",
	"training_stalled":   "fails a run",
	"broken_vectors":     "fails a run",
	"not_the_original":   "a file of the command line's",
	"other_features":     "fails a run",
	"weights_mismatch":   "fails a run",
	"unknown_tokenizer":  "a flag of the command line's",
	"invalid_split":      "its problems are told as invalid_config or unusable_data",
}

// TestEveryCodeIsDescribed reads the source for error codes: each is in the
// document or is none of a client's business, and the document has no others.
func TestEveryCodeIsDescribed(t *testing.T) {
	described := map[string]bool{}
	for _, code := range needDocument(t).Components.Schemas["Code"].Value.Enum {
		described[code.(string)] = true
	}
	inSource := map[string]string{}
	for _, kind := range []captioner.Kind{captioner.Invalid, captioner.NotFound, captioner.Conflict, captioner.Unavailable, captioner.Internal} {
		inSource[string(kind)] = "the kinds"
	}
	walkSource(t, filepath.Join(".."), func(path string, file *ast.File) {
		for _, code := range codesIn(file) {
			inSource[code] = path
		}
	})

	for code, path := range inSource {
		if !described[code] && notForClients[code] == "" {
			t.Errorf("the code %q of %s is not described: add it to openapi.yaml, or say here why no client sees it", code, path)
		}
		if described[code] && notForClients[code] != "" {
			t.Errorf("the code %q is described, and said to be none of a client's business", code)
		}
	}
	for code := range described {
		if inSource[code] == "" {
			t.Errorf("the code %q is described, and nothing gives it", code)
		}
	}
	for code := range notForClients {
		if inSource[code] == "" {
			t.Errorf("nothing gives the code %q any more", code)
		}
	}
}

// walkSource parses every file that is no test.
func walkSource(t *testing.T, root string, visit func(path string, file *ast.File)) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err == nil {
			visit(path, file)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// codesIn finds what stands as the Code of an Error, as the first argument of
// invalid, in a constant named code…, and as a key of the table of statuses.
func codesIn(file *ast.File) []string {
	var found []string
	add := func(e ast.Expr) {
		if lit, ok := e.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			if code, _ := strconv.Unquote(lit.Value); code != "" {
				found = append(found, code)
			}
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CompositeLit:
			for _, element := range n.Elts {
				if pair, ok := element.(*ast.KeyValueExpr); ok && isError(n.Type) && nameOf(pair.Key) == "Code" {
					add(pair.Value)
				}
			}
		case *ast.CallExpr:
			if name := nameOf(n.Fun); name == "invalid" && len(n.Args) == 3 {
				add(n.Args[0])
			} else if name == "readCount" && len(n.Args) == 3 {
				add(n.Args[1])
			}
		case *ast.ValueSpec:
			for i, name := range n.Names {
				if i < len(n.Values) && regexp.MustCompile(`^[cC]ode[A-Z]\w*$`).MatchString(name.Name) {
					add(n.Values[i])
				}
				if table, ok := at(n.Values, i).(*ast.CompositeLit); ok && name.Name == "codeStatus" {
					for _, element := range table.Elts {
						add(element.(*ast.KeyValueExpr).Key)
					}
				}
			}
		}
		return true
	})
	return found
}

func at(list []ast.Expr, i int) ast.Expr {
	if i < len(list) {
		return list[i]
	}
	return nil
}

func isError(e ast.Expr) bool { return nameOf(e) == "Error" }

// nameOf is the last word of an expression such as captioner.Error.
func nameOf(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	}
	return ""
}

// TestEveryCodeIsShown: each code that the document names beside a response is
// in a golden reply, but for those that need another machine.
func TestEveryCodeIsShown(t *testing.T) {
	shown := map[string]bool{
		"too_many_streams": true, // see TestEventsAreBounded
		"client_gone":      true, // nobody is there to read it
		"shutting_down":    true, // see TestShutdownDrains
	}
	code := regexp.MustCompile(`"code": "(\w+)"`)
	err := filepath.WalkDir("testdata", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		for _, match := range code.FindAllSubmatch(data, -1) {
			shown[string(match[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var missing []string
	for _, item := range needDocument(t).Paths.Map() {
		for _, op := range item.Operations() {
			for status, response := range op.Responses.Map() {
				if status < "400" {
					continue
				}
				for _, name := range apitest.Codes(t, response.Value) {
					if !shown[name] && !slices.Contains(missing, name) {
						missing = append(missing, name)
					}
				}
			}
		}
	}
	slices.Sort(missing)
	if len(missing) > 0 {
		list, _ := json.Marshal(missing)
		t.Errorf("no golden reply shows %s", list)
	}
}
