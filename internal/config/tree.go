package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"github.com/captioner/captioner"
)

const (
	// maxInput bounds what is parsed, in bytes: the YAML parser takes quadratic
	// time on some inputs, and a configuration with a comment on every line
	// stays below a third of it.
	maxInput = 32 << 10
	// maxBrackets bounds the brackets in YAML and the depth of JSON, for the
	// same reason.
	maxBrackets = 64
)

// position is a place in a file; both count from 1, 0 is unknown.
type position struct{ line, column int }

// kind is what a node is, the same for both formats.
type kind int

const (
	null   kind = iota // no value
	object             // fields
	list
	quoted // text that is text, whatever it says
	plain  // a number, true, false, or text without quotes in YAML
	other  // something of YAML that a configuration does not use
)

// node is a value with its place.
type node struct {
	kind    kind
	text    string
	entries []entry
	position
}

// entry is a field of an object.
type entry struct {
	key   string
	keyAt position
	value node
}

// read parses data into a tree; what cannot be parsed is a problem.
func read(data []byte, format string) (node, []captioner.Problem) {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	switch {
	case len(data) > maxInput:
		return node{}, []captioner.Problem{{Message: fmt.Sprintf("is longer than %d bytes", maxInput)}}
	case !utf8.Valid(data):
		at := positionOf(data, validPrefix(data))
		return node{}, []captioner.Problem{{Line: at.line, Column: at.column, Message: "is not text in UTF-8"}}
	case format == JSON:
		return readJSON(data)
	case format == YAML:
		return readYAML(data)
	}
	return node{}, []captioner.Problem{{Message: `can be read as "yaml" or "json" only`}}
}

// validPrefix returns how many bytes of data are valid UTF-8.
func validPrefix(data []byte) int {
	n := 0
	for n < len(data) {
		r, size := utf8.DecodeRune(data[n:])
		if r == utf8.RuneError && size <= 1 {
			break
		}
		n += size
	}
	return n
}

// positionOf returns the place of a byte; columns count characters.
func positionOf(data []byte, offset int) position {
	before := data[:min(max(offset, 0), len(data))]
	start := bytes.LastIndexByte(before, '\n') + 1
	return position{line: bytes.Count(before, []byte("\n")) + 1, column: utf8.RuneCount(before[start:]) + 1}
}

// readYAML parses YAML 1.2, as far as a configuration needs it.
func readYAML(data []byte) (root node, problems []captioner.Problem) {
	if bytes.Count(data, []byte("["))+bytes.Count(data, []byte("{")) > maxBrackets {
		return node{}, []captioner.Problem{{Message: fmt.Sprintf("has more than %d brackets", maxBrackets)}}
	}
	// A panic of the parser is a broken file for us: it must not end a server.
	defer func() {
		if recover() != nil {
			root, problems = node{}, []captioner.Problem{{Message: "cannot be read as YAML"}}
		}
	}()
	file, err := parser.ParseBytes(data, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		return node{}, []captioner.Problem{yamlProblem(err)}
	}
	docs := 0
	for _, doc := range file.Docs {
		if doc == nil || doc.Body == nil {
			continue
		}
		if docs++; docs > 1 {
			at := at(doc.Body.GetToken())
			return node{}, []captioner.Problem{{Line: at.line, Column: at.column, Message: "holds a second document: one is enough"}}
		}
		root = fromYAML(doc.Body)
	}
	return root, nil
}

// yamlProblem takes the parser's message and place, without its source lines.
func yamlProblem(err error) captioner.Problem {
	var e yaml.Error
	if !errors.As(err, &e) {
		return captioner.Problem{Message: "cannot be read as YAML"}
	}
	p := at(e.GetToken())
	return captioner.Problem{Line: p.line, Column: p.column, Message: "cannot be read as YAML: " + e.GetMessage()}
}

// at returns the place of a token.
func at(t *token.Token) position {
	if t == nil || t.Position == nil {
		return position{}
	}
	return position{line: t.Position.Line, column: t.Position.Column}
}

// fromYAML converts the parser's tree.
func fromYAML(n ast.Node) node {
	if n == nil {
		return node{}
	}
	out := node{kind: other, position: at(n.GetToken())}
	switch n := n.(type) {
	case *ast.MappingNode:
		out.kind = object
		for _, v := range n.Values {
			out.entries = append(out.entries, fromYAMLEntry(v))
		}
		if !n.IsFlowStyle && len(out.entries) > 0 {
			out.position = out.entries[0].keyAt // the parser's is the first colon
		}
	case *ast.MappingValueNode:
		out.kind, out.entries = object, []entry{fromYAMLEntry(n)}
		out.position = out.entries[0].keyAt
	case *ast.SequenceNode:
		out.kind = list
	case *ast.NullNode:
		out.kind = null
	case *ast.StringNode:
		out.kind, out.text = plain, n.Value
		if t := n.GetToken(); t != nil && (t.Type == token.SingleQuoteType || t.Type == token.DoubleQuoteType) {
			out.kind = quoted
		}
	case *ast.LiteralNode:
		out.kind = quoted
		if n.Value != nil {
			out.text = n.Value.Value
		}
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		out.kind, out.text = plain, n.GetToken().Value
	}
	return out
}

// fromYAMLEntry converts a field.
func fromYAMLEntry(v *ast.MappingValueNode) entry {
	e := entry{keyAt: at(v.Key.GetToken()), value: fromYAML(v.Value)}
	switch key := fromYAML(v.Key); key.kind {
	case plain, quoted:
		e.key = key.text
	default:
		e.key = v.Key.String()
	}
	if e.value.line == 0 {
		e.value.position = e.keyAt
	}
	return e
}

// readJSON parses one JSON value.
func readJSON(data []byte) (node, []captioner.Problem) {
	if len(bytes.TrimSpace(data)) == 0 {
		return node{}, nil
	}
	// The standard library says best what is wrong with the syntax, and where:
	// the offset is after the byte that does not fit, or at the end.
	var syntax *json.SyntaxError
	var anything any
	if err := json.Unmarshal(data, &anything); errors.As(err, &syntax) {
		at := positionOf(data, int(syntax.Offset)-1)
		return node{}, []captioner.Problem{{Line: at.line, Column: at.column, Message: "cannot be read as JSON: " + syntax.Error()}}
	}
	r := jsonReader{data: data, decoder: json.NewDecoder(bytes.NewReader(data))}
	r.decoder.UseNumber()
	root, err := r.value(0)
	if err != nil {
		return node{}, []captioner.Problem{{Message: "cannot be read as JSON: " + err.Error()}}
	}
	return root, nil
}

// jsonReader builds a tree out of tokens, to keep their places and to see
// repeated keys.
type jsonReader struct {
	data    []byte
	decoder *json.Decoder
}

// next returns the offset of the next token.
func (r jsonReader) next() int {
	offset := int(r.decoder.InputOffset())
	for offset < len(r.data) && strings.IndexByte(" \t\r\n,:", r.data[offset]) >= 0 {
		offset++
	}
	return offset
}

// value reads a value, depth objects deep.
func (r jsonReader) value(depth int) (node, error) {
	if depth > maxBrackets {
		return node{}, fmt.Errorf("more than %d levels", maxBrackets)
	}
	n := node{position: positionOf(r.data, r.next())}
	t, err := r.decoder.Token()
	if err != nil {
		return n, err
	}
	switch t := t.(type) {
	case nil:
	case string:
		n.kind, n.text = quoted, t
	case json.Number:
		n.kind, n.text = plain, t.String()
	case bool:
		n.kind, n.text = plain, fmt.Sprint(t)
	case json.Delim:
		return r.inside(n, t, depth)
	}
	return n, nil
}

// inside reads an object's fields or a list's items, and the closing bracket.
func (r jsonReader) inside(n node, open json.Delim, depth int) (node, error) {
	n.kind = list
	if open == '{' {
		n.kind = object
	}
	for r.decoder.More() {
		var e entry
		if n.kind == object {
			e.keyAt = positionOf(r.data, r.next())
			key, err := r.decoder.Token()
			if err != nil {
				return n, err
			}
			e.key, _ = key.(string)
		}
		var err error
		if e.value, err = r.value(depth + 1); err != nil {
			return n, err
		}
		if n.kind == object {
			n.entries = append(n.entries, e)
		}
	}
	_, err := r.decoder.Token()
	return n, err
}
