package config

import (
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"regexp"
	"strings"

	"github.com/captioner/captioner"
)

// Descriptions returns what the comments of captioner.Config say about each
// section and field, by its dotted name. Other fields are called in them as they
// are in files. A field without a comment shares that of the field above it
// which names it, or of its section.
func Descriptions() (map[string]string, error) {
	comments, err := readComments(captioner.ConfigSource)
	if err != nil {
		return nil, captioner.Wrap(captioner.Internal, err, "read the comments of the configuration")
	}
	d := describer{comments: comments, out: map[string]string{}}
	d.section(reflect.TypeFor[captioner.Config](), "")
	return d.out, nil
}

// comments are those of a struct type: its own, and those of its fields by
// name, as they stand above one or several of them.
type comments struct {
	own    string
	fields map[string]string
}

// readComments reads the comments of every struct type of a Go file.
func readComments(source string) (map[string]comments, error) {
	file, err := parser.ParseFile(token.NewFileSet(), "config.go", source, parser.ParseComments)
	if err != nil {
		return nil, err
	}
	types := map[string]comments{}
	for _, decl := range file.Decls {
		group, ok := decl.(*ast.GenDecl)
		if !ok || group.Tok != token.TYPE {
			continue
		}
		spec := group.Specs[0].(*ast.TypeSpec)
		if body, ok := spec.Type.(*ast.StructType); ok {
			types[spec.Name.Name] = comments{own: line(group.Doc), fields: fieldComments(body)}
		}
	}
	return types, nil
}

func fieldComments(body *ast.StructType) map[string]string {
	fields := map[string]string{}
	above := ""
	for _, field := range body.Fields.List {
		if text := line(field.Doc); text != "" {
			above = text
		}
		for _, name := range field.Names {
			if field.Doc != nil || strings.Contains(above, name.Name) {
				fields[name.Name] = above
			}
		}
	}
	return fields
}

// line returns a comment as one line.
func line(doc *ast.CommentGroup) string { return strings.Join(strings.Fields(doc.Text()), " ") }

// describer walks the configuration's types.
type describer struct {
	comments map[string]comments
	out      map[string]string
}

func (d describer) section(t reflect.Type, prefix string) {
	here := d.comments[t.Name()]
	keys := keysOf(t)
	for i := range t.NumField() {
		f := t.Field(i)
		name := join(prefix, keyOf(f))
		text := here.fields[f.Name]
		if f.Type.Kind() == reflect.Struct {
			if text == "" {
				text = d.comments[f.Type.Name()].own
			}
			d.section(f.Type, name)
		}
		if text == "" && prefix != "" {
			text = here.own
		}
		d.out[name] = renameFields(text, keys)
	}
}

// keysOf returns the names in files of a struct's fields by their names in Go.
func keysOf(t reflect.Type) map[string]string {
	keys := map[string]string{}
	for i := range t.NumField() {
		keys[t.Field(i).Name] = keyOf(t.Field(i))
	}
	return keys
}

var word = regexp.MustCompile(`\w+`)

func renameFields(text string, keys map[string]string) string {
	return word.ReplaceAllStringFunc(text, func(w string) string {
		if key, ok := keys[w]; ok {
			return key
		}
		return w
	})
}
