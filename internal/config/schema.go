package config

import (
	"bytes"
	"encoding/json"
	"reflect"

	"github.com/captioner/captioner"
)

// Schema returns the JSON Schema (draft 2020-12) of a configuration: every field
// with its type, description, default and the values that the static rules
// allow, in the order of captioner.Config, after the preset. What fields must be to
// each other is left to Parse.
func Schema() ([]byte, error) {
	descriptions, err := Descriptions()
	if err != nil {
		return nil, err
	}
	defaults := captioner.DefaultConfig()
	s := schemer{descriptions: descriptions, limits: check(defaults).limits}
	root := s.section(reflect.ValueOf(defaults), "")
	root.Properties = append(properties{{presetKey, schema{
		Type: "string", Default: "", Enum: append([]string{""}, Presets()...),
		Description: "preset names the configuration whose values stand for the defaults of this one; empty for none.",
	}}}, root.Properties...)
	root.Dialect, root.Title = "https://json-schema.org/draft/2020-12/schema", "Configuration of a run"
	data, err := json.Marshal(root)
	if err != nil {
		return nil, captioner.Wrap(captioner.Internal, err, "write the schema of the configuration")
	}
	return data, nil
}

// schema is the part of JSON Schema that a configuration needs.
type schema struct {
	Dialect     string `json:"$schema,omitempty"`
	Title       string `json:"title,omitempty"`
	Type        string `json:"type"`
	Description string `json:"description,omitempty"`

	Properties           properties `json:"properties,omitempty"`
	AdditionalProperties *bool      `json:"additionalProperties,omitempty"`

	Default          any      `json:"default,omitempty"`
	Enum             []string `json:"enum,omitempty"`
	Pattern          string   `json:"pattern,omitempty"`
	Minimum          *float64 `json:"minimum,omitempty"`
	Maximum          *float64 `json:"maximum,omitempty"`
	ExclusiveMinimum *float64 `json:"exclusiveMinimum,omitempty"`
	ExclusiveMaximum *float64 `json:"exclusiveMaximum,omitempty"`
}

// properties are an object in JSON whose members keep their order.
type properties []property

type property struct {
	key    string
	schema schema
}

// MarshalJSON writes the members in order, which a map would lose.
func (p properties) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, member := range p {
		if i > 0 {
			b.WriteByte(',')
		}
		key, err := json.Marshal(member.key)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(member.schema)
		if err != nil {
			return nil, err
		}
		b.Write(key)
		b.WriteByte(':')
		b.Write(value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// schemer walks the default configuration.
type schemer struct {
	descriptions map[string]string
	limits       map[string]limits
}

func (s schemer) section(v reflect.Value, name string) schema {
	closed := false
	out := schema{Type: "object", Description: s.descriptions[name], AdditionalProperties: &closed}
	for i := range v.NumField() {
		field, key := v.Field(i), keyOf(v.Type().Field(i))
		member := property{key: key}
		if field.Kind() == reflect.Struct {
			member.schema = s.section(field, join(name, key))
		} else {
			member.schema = s.field(field, join(name, key))
		}
		out.Properties = append(out.Properties, member)
	}
	return out
}

// durationPattern is what time.ParseDuration reads, without a sign.
const durationPattern = `^([0-9]+(\.[0-9]*)?(ns|us|µs|ms|s|m|h))+$`

func (s schemer) field(v reflect.Value, name string) schema {
	out := schema{Description: s.descriptions[name], Default: v.Interface()}
	switch {
	case v.Type() == durationType:
		out.Type, out.Pattern = "string", durationPattern
	case v.Kind() == reflect.Bool:
		out.Type = "boolean"
	case v.Kind() == reflect.String:
		out.Type = "string"
	case v.Kind() == reflect.Float64:
		out.Type = "number"
	case v.Kind() == reflect.Uint64:
		out.Type, out.Minimum = "integer", new(float64)
	default:
		out.Type = "integer"
	}
	l := s.limits[name]
	out.Enum = l.names
	if i := l.interval; i != nil {
		out.Minimum, out.ExclusiveMinimum = bound(i.low, i.openLow)
		out.Maximum, out.ExclusiveMaximum = bound(i.high, i.openHigh)
	}
	return out
}

// bound returns a limit as one that is included or one that is not.
func bound(v float64, open bool) (included, excluded *float64) {
	if open {
		return nil, &v
	}
	return &v, nil
}
