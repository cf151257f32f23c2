package config

import (
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"github.com/captioner/captioner"
)

// Marshal writes a configuration as YAML, every field in the order of
// captioner.Config. Parse reads it back to the same configuration.
func Marshal(c captioner.Config) []byte {
	var b strings.Builder
	writeSection(&b, reflect.ValueOf(c), "")
	return []byte(b.String())
}

// writeSection writes the fields of a struct, indented.
func writeSection(b *strings.Builder, v reflect.Value, indent string) {
	for i := range v.NumField() {
		field, key := v.Field(i), keyOf(v.Type().Field(i))
		if field.Kind() == reflect.Struct {
			fmt.Fprintf(b, "%s%s:\n", indent, key)
			writeSection(b, field, indent+"  ")
			continue
		}
		fmt.Fprintf(b, "%s%s: %s\n", indent, key, scalar(field))
	}
}

// bare matches text that needs no quotes: nothing YAML takes for a number, a
// date or syntax.
var bare = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_./-]*$`)

// scalar writes one value.
func scalar(v reflect.Value) string {
	switch value := v.Interface().(type) {
	case captioner.Duration:
		text, _ := value.MarshalText() // never fails
		return string(text)
	case float64:
		return strconv.FormatFloat(value, 'g', -1, 64)
	case string:
		switch strings.ToLower(value) {
		case "true", "false", "null", "yes", "no", "on", "off", "y", "n":
		default:
			if bare.MatchString(value) {
				return value
			}
		}
		text, _ := json.Marshal(value) // a JSON string is one of YAML
		return string(text)
	}
	return fmt.Sprint(v.Interface())
}
