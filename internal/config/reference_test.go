package config

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/captioner/captioner"
)

var update = flag.Bool("update", false, "write docs/configuration.md")

const referenceHead = `# Configuration

A run's configuration is YAML or JSON and names only what differs from the
defaults. ` + "`captioner config show`" + ` prints all of it with the defaults filled in;
` + "`captioner config check FILE`" + ` says all that is wrong with one. The
[guide](../DOCS.md#training-on-your-own-data) shows how to come from pictures to a
configuration.

The first key may be ` + "`preset: NAME`" + `: the defaults are then those of
[a file of presets](../internal/config/presets): %s.
` + "`captioner config show --preset NAME`" + ` prints one.

This page is made from the comments, defaults and rules in the code:
` + "`go test ./internal/config -run TestReference -update`" + `.
`

// TestReference holds docs/configuration.md against the code that it is made of.
func TestReference(t *testing.T) {
	path := filepath.Join("..", "..", "docs", "configuration.md")
	want := reference(t)
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
		t.Errorf("docs/configuration.md is stale (-code +file); run this test with -update:\n%s", diff)
	}
}

func reference(t *testing.T) string {
	t.Helper()
	descriptions, err := Descriptions()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, referenceHead, strings.Join(Presets(), ", "))
	var section func(v reflect.Value, prefix string)
	section = func(v reflect.Value, prefix string) {
		if prefix != "" {
			fmt.Fprintf(&b, "\n## %s\n\n%s\n\n| field | type | default | allowed | what it says |\n| --- | --- | --- | --- | --- |\n",
				prefix, sentence(descriptions[prefix], keyAt(prefix)))
		}
		var groups []int
		for i := range v.NumField() {
			if v.Field(i).Kind() == reflect.Struct {
				groups = append(groups, i)
				continue
			}
			key := keyOf(v.Type().Field(i))
			name := join(prefix, key)
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", key,
				typeName(v.Field(i)), defaultOf(t, v.Field(i)), allowed(name), sentence(descriptions[name], key))
		}
		for _, i := range groups {
			section(v.Field(i), join(prefix, keyOf(v.Type().Field(i))))
		}
	}
	section(reflect.ValueOf(captioner.DefaultConfig()), "")
	return b.String()
}

func typeName(v reflect.Value) string {
	switch {
	case v.Type() == durationType:
		return "duration"
	case v.Kind() == reflect.Bool:
		return "true or false"
	case v.Kind() == reflect.String:
		return "text"
	case v.Kind() == reflect.Float64:
		return "number"
	default:
		return "whole number"
	}
}

// defaultOf writes a default as a configuration does.
func defaultOf(t *testing.T, v reflect.Value) string {
	t.Helper()
	if v.IsZero() && v.Kind() == reflect.String {
		return "none"
	}
	data, err := json.Marshal(v.Interface())
	if err != nil {
		t.Fatal(err)
	}
	return "`" + strings.Trim(string(data), `"`) + "`"
}

// keyAt returns the last part of a dotted name.
func keyAt(name string) string { return name[strings.LastIndex(name, ".")+1:] }

// sentence returns a comment without its subject where that is the field or its
// type, which stands beside it: "seed makes …" becomes "Makes …".
func sentence(text, key string) string {
	subject := regexp.MustCompile(`^(` + key + `|[A-Z]\w+[a-z][A-Z]\w+) (is |are |)`)
	if found := subject.FindString(text); found != "" && !strings.HasPrefix(text[len(found):], "whose") {
		text = text[len(found):]
	}
	return strings.ToUpper(text[:1]) + text[1:]
}

// ruleText is what a rule says that it wants: "must be …, is …".
var ruleText = regexp.MustCompile(`^must be (?:a finite number )?(.*?)(?:, is .*)?$`)

// allowed asks the rules about values that none of them takes, and returns what
// they want in their own words.
func allowed(name string) string {
	text := wanted(name, -1, "\n")
	switch {
	case text == "":
		return "any"
	case strings.HasPrefix(text, "a path"):
		return "a path"
	case text[0] >= '1' && text[0] <= '9' && wanted(name, 0, "") == "":
		return "0, or " + text
	}
	return text
}

// wanted returns what the rules want a field to be that has the number or the
// text, whichever it can hold; nothing where they take it.
func wanted(name string, number int, text string) string {
	c := captioner.DefaultConfig()
	field := reflect.ValueOf(&c).Elem()
	for _, key := range strings.Split(name, ".") {
		for i := range field.NumField() {
			if keyOf(field.Type().Field(i)) == key {
				field = field.Field(i)
				break
			}
		}
	}
	switch {
	case field.Kind() == reflect.String:
		field.SetString(text)
	case field.CanInt():
		field.SetInt(int64(number))
	case field.CanFloat():
		field.SetFloat(float64(number))
	}
	for _, p := range Check(c) {
		if found := ruleText.FindStringSubmatch(p.Message); p.Field == name && found != nil {
			return strings.TrimPrefix(found[1], "from ")
		}
	}
	return ""
}
