package config

import (
	"cmp"
	"fmt"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/captioner/captioner"
)

// decoder fills a configuration from a tree and collects what is wrong.
type decoder struct {
	problems []captioner.Problem // found so far
	at       map[string]position // of the values, by field
	broken   map[string]bool     // fields whose value could not be read
}

func newDecoder() *decoder {
	return &decoder{at: map[string]position{}, broken: map[string]bool{}}
}

// decode sets the fields that the tree names.
func (d *decoder) decode(c *captioner.Config, tree node) {
	d.section(reflect.ValueOf(c).Elem(), tree, "")
}

// section fills a struct; prefix is its dotted name.
func (d *decoder) section(into reflect.Value, n node, prefix string) {
	switch n.kind {
	case null: // a section of which all is commented out
		return
	case object:
	default:
		d.report(prefix, n.position, "must be a section with fields of its own, is "+describe(n))
		return
	}
	first := map[string]position{}
	for _, e := range n.entries {
		name := join(prefix, e.key)
		if before, twice := first[e.key]; twice {
			d.report(show(name), e.keyAt, fmt.Sprintf("is set twice, first in line %d", before.line))
			continue
		}
		first[e.key] = e.keyAt
		if name == presetKey {
			continue
		}
		field, known := fieldOf(into, e.key)
		if !known {
			d.report(show(name), e.keyAt, unknown(into.Type(), prefix, e.key))
			continue
		}
		if field.Kind() == reflect.Struct {
			d.at[name] = e.keyAt
			d.section(field, e.value, name)
			continue
		}
		d.at[name] = e.value.position
		if problem := set(field, e.value); problem != "" {
			d.broken[name] = true
			d.report(name, e.value.position, problem)
		}
	}
}

func (d *decoder) report(field string, at position, message string) {
	d.problems = append(d.problems, captioner.Problem{Field: field, Line: at.line, Column: at.column, Message: message})
}

// concernsBroken reports whether a rule looked at a field that could not be
// read: its default is not what the user meant.
func (d *decoder) concernsBroken(f finding) bool {
	return d.broken[f.Field] || slices.ContainsFunc(f.involves, func(field string) bool { return d.broken[field] })
}

// find returns the place to point at: the field's, or that of another field of
// the rule, or that of the nearest section around it.
func (d *decoder) find(f finding) position {
	for _, field := range append([]string{f.Field}, f.involves...) {
		if at, ok := d.at[field]; ok {
			return at
		}
	}
	for field := f.Field; field != ""; {
		field, _, _ = cutLast(field)
		if at, ok := d.at[field]; ok {
			return at
		}
	}
	return position{}
}

// sortProblems puts problems in the order of the file, those without a line last.
func sortProblems(problems []captioner.Problem) {
	line := func(p captioner.Problem) int {
		if p.Line == 0 {
			return math.MaxInt
		}
		return p.Line
	}
	slices.SortStableFunc(problems, func(a, b captioner.Problem) int {
		return cmp.Or(cmp.Compare(line(a), line(b)), cmp.Compare(a.Column, b.Column))
	})
}

// fieldOf returns the field of a struct with the key as its name in files.
func fieldOf(v reflect.Value, key string) (reflect.Value, bool) {
	for i := range v.NumField() {
		if keyOf(v.Type().Field(i)) == key {
			return v.Field(i), true
		}
	}
	return reflect.Value{}, false
}

// keyOf returns a field's name in files.
func keyOf(f reflect.StructField) string { return f.Tag.Get("json") }

var durationType = reflect.TypeFor[captioner.Duration]()

// set reads a value into a field; it says what is wrong, "" for nothing.
func set(field reflect.Value, n node) string {
	if n.kind == null {
		return "has no value: give one or remove the key"
	}
	if field.Type() == durationType {
		return setDuration(field, n)
	}
	switch field.Kind() {
	case reflect.String:
		return setString(field, n)
	case reflect.Bool:
		if n.kind != plain || n.text != "true" && n.text != "false" {
			return "must be true or false, is " + describe(n)
		}
		field.SetBool(n.text == "true")
	case reflect.Int:
		return setInt(field, n)
	case reflect.Uint64:
		v, err := strconv.ParseUint(digits(n), 10, 64)
		if err != nil {
			return "must be a whole number from 0 to 18446744073709551615, is " + describe(n)
		}
		field.SetUint(v)
	case reflect.Float64:
		v, ok := number(n)
		if !ok {
			return "must be a number, is " + describe(n)
		}
		field.SetFloat(v)
	default:
		panic("config: no reader for a field of type " + field.Type().String())
	}
	return ""
}

func setString(field reflect.Value, n node) string {
	if n.kind == plain {
		if _, isNumber := number(n); isNumber || n.text == "true" || n.text == "false" {
			return "must be text, is " + describe(n) + ": put it in quotes"
		}
	}
	if n.kind != plain && n.kind != quoted {
		return "must be text, is " + describe(n)
	}
	field.SetString(n.text)
	return ""
}

func setInt(field reflect.Value, n node) string {
	if v, err := strconv.ParseInt(digits(n), 10, 64); err == nil {
		field.SetInt(v)
		return ""
	}
	// 1e3 and 3.0 are whole numbers too, as long as a float64 holds them exactly.
	v, ok := number(n)
	if !ok || v != math.Trunc(v) || math.Abs(v) > 1<<53 {
		return "must be a whole number, is " + describe(n)
	}
	field.SetInt(int64(v))
	return ""
}

func setDuration(field reflect.Value, n node) string {
	if n.kind == plain || n.kind == quoted {
		if v, err := time.ParseDuration(n.text); err == nil {
			field.SetInt(int64(v))
			return ""
		}
	}
	return "must be a duration with its unit, such as 60s or 1m30s, is " + describe(n)
}

var (
	wholeForm  = regexp.MustCompile(`^[-+]?(0|[1-9][0-9]*(_[0-9]+)*)$`)
	numberForm = regexp.MustCompile(`^[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?$`)
)

// digits returns the digits of a whole number without separators; what is no
// whole number comes back as "". A leading zero is none: some readers of YAML
// take it for octal.
func digits(n node) string {
	if n.kind != plain || !wholeForm.MatchString(n.text) {
		return ""
	}
	return strings.ReplaceAll(n.text, "_", "")
}

// number reads a number. YAML's names for what is not finite are read as such,
// and so is a number that is too large, for the rules to refuse.
func number(n node) (float64, bool) {
	if n.kind != plain {
		return 0, false
	}
	switch strings.ToLower(strings.TrimLeft(n.text, "+-")) {
	case ".nan":
		return math.NaN(), true
	case ".inf":
		if strings.HasPrefix(n.text, "-") {
			return math.Inf(-1), true
		}
		return math.Inf(1), true
	}
	text := n.text
	if whole := digits(n); whole != "" {
		text = whole
	} else if !numberForm.MatchString(text) || leadingZero(text) {
		return 0, false
	}
	v, err := strconv.ParseFloat(text, 64)
	return v, err == nil || math.IsInf(v, 0)
}

// leadingZero reports a number such as 012, but not 0.5.
func leadingZero(text string) bool {
	text = strings.TrimLeft(text, "+-")
	return len(text) > 1 && text[0] == '0' && text[1] >= '0' && text[1] <= '9'
}

// describe says what a value is, for a message.
func describe(n node) string {
	switch n.kind {
	case null:
		return "empty"
	case object:
		return "a section"
	case list:
		return "a list"
	case quoted:
		return "the text " + short(n.text)
	case plain:
		if _, isNumber := number(n); isNumber || n.text == "true" || n.text == "false" {
			return cut(n.text)
		}
		return "the text " + short(n.text)
	}
	return "an anchor, an alias or a tag"
}

// maxShown is how many characters of what a user wrote a message repeats.
const maxShown = 60

// short quotes a text for a message.
func short(s string) string { return strconv.Quote(cut(s)) }

// cut cuts a text for a message.
func cut(s string) string {
	if r := []rune(s); len(r) > maxShown {
		return string(r[:maxShown]) + "…"
	}
	return s
}

// show makes a field name of what a user wrote fit for a message.
func show(name string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '\uFFFD'
	}, cut(name))
}

func join(prefix, key string) string {
	if prefix == "" {
		return key
	}
	return prefix + "." + key
}

// cutLast splits a dotted name at its last dot.
func cutLast(name string) (prefix, key string, found bool) {
	if i := strings.LastIndexByte(name, '.'); i >= 0 {
		return name[:i], name[i+1:], true
	}
	return "", name, false
}
