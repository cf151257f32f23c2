package api_test

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	gocmp "github.com/google/go-cmp/cmp"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/config"
	"github.com/captioner/captioner/ml/dataset"
	"github.com/captioner/captioner/ml/decode"
	"github.com/captioner/captioner/ml/metrics"
)

// configFields calls visit for each field of the described configuration that
// is no group, with its dotted name, and returns the described defaults.
func configFields(schema *openapi3.Schema, prefix string, visit func(name string, s *openapi3.Schema)) map[string]any {
	defaults := map[string]any{}
	for name, property := range schema.Properties {
		if property.Value.Type.Is("object") {
			defaults[name] = configFields(property.Value, prefix+name+".", visit)
			continue
		}
		defaults[name] = property.Value.Default
		visit(prefix+name, property.Value)
	}
	return defaults
}

// TestConfigSchema compares the described configuration with the type: the same
// fields, the same defaults.
func TestConfigSchema(t *testing.T) {
	described := configFields(needDocument(t).Components.Schemas["Config"].Value, "", func(name string, s *openapi3.Schema) {
		if s.Description == "" {
			t.Errorf("%s has no description", name)
		}
	})
	delete(described, "preset") // which no configuration keeps
	var want, got any
	for value, into := range map[*any]any{&want: captioner.DefaultConfig(), &got: described} {
		data, err := json.Marshal(into)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(data, value); err != nil {
			t.Fatal(err)
		}
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("defaults (-DefaultConfig +openapi.yaml):\n%s", diff)
	}
}

// TestConfigSchemaBounds tries each field at its described bounds and beyond
// them: the rules must take the one and refuse the other.
func TestConfigSchemaBounds(t *testing.T) {
	tried := 0
	configFields(needDocument(t).Components.Schemas["Config"].Value, "", func(name string, s *openapi3.Schema) {
		if name == "data.max_tokens" || name == "training.fine_tune_blocks" || name == "training.steps" || strings.HasPrefix(name, "data.split_ratios.") {
			return // rules that say more than two bounds
		}
		refused := func(value any) bool {
			tried++
			return outOfRange(t, name, value)
		}
		if s.Enum != nil && !refused("something else") {
			t.Errorf("%s takes what is not in its list %v", name, s.Enum)
		}
		step := func(from, direction float64) any { // the next value
			if s.Type.Is("integer") {
				return int64(from + direction)
			}
			return math.Nextafter(from, from+direction)
		}
		for _, bound := range []struct {
			value     *float64
			exclusive *float64
			beyond    float64
		}{{s.Min, s.ExclusiveMin.Value, -1}, {s.Max, s.ExclusiveMax.Value, 1}} {
			if limit := bound.exclusive; limit != nil && !refused(*limit) {
				t.Errorf("%s takes its exclusive bound %v", name, *limit)
			}
			if limit := bound.value; limit != nil {
				if refused(step(*limit, 0)) {
					t.Errorf("%s refuses its bound %v", name, *limit)
				}
				if !refused(step(*limit, bound.beyond)) {
					t.Errorf("%s takes more than its bound %v", name, *limit)
				}
			}
		}
	})
	if tried < 80 {
		t.Errorf("%d values were tried, want each bound of each field", tried)
	}
}

// outOfRange reports whether the rules refuse a value of a field by itself, not
// because of another field.
func outOfRange(t *testing.T, name string, value any) bool {
	t.Helper()
	body := value
	for _, part := range slices.Backward(strings.Split(name, ".")) {
		body = map[string]any{part: body}
	}
	data, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	_, err = config.Parse(data, config.JSON)
	return slices.ContainsFunc(captioner.ProblemsOf(err), func(p captioner.Problem) bool {
		return p.Field == name && !strings.Contains(p.Message, "fewer") && !strings.Contains(p.Message, "divide") && !strings.Contains(p.Message, "more than training.") && !strings.Contains(p.Message, "higher")
	})
}

// TestNamesAreDescribed: whatever can be chosen by name is in the lists of the
// document, so that who registers something adds it there.
func TestNamesAreDescribed(t *testing.T) {
	doc := needDocument(t)
	enum := func(schema, property string) []string {
		var names []string
		for _, name := range doc.Components.Schemas[schema].Value.Properties[property].Value.Enum {
			names = append(names, name.(string))
		}
		slices.Sort(names)
		return names
	}
	algorithms := decode.Algorithms()
	presets := append([]string{""}, config.Presets()...)
	for _, list := range []struct {
		schema, property string
		want             []string
	}{
		{"Config", "preset", presets},
		{"DataConfig", "format", dataset.Formats()},
		{"ModelConfig", "encoder", config.Encoders}, {"ModelConfig", "decoder", config.Decoders},
		{"TrainingConfig", "schedule", config.Schedules}, {"TrainingConfig", "precision", config.Precisions},
		{"PromotionConfig", "metric", metrics.Names()}, {"PromotionConfig", "algorithm", decode.Scored()},
		{"PredictForm", "algorithm", algorithms}, {"Prediction", "algorithm", algorithms},
	} {
		if diff := gocmp.Diff(slices.Sorted(slices.Values(list.want)), enum(list.schema, list.property)); diff != "" {
			t.Errorf("%s.%s (-registered +openapi.yaml):\n%s", list.schema, list.property, diff)
		}
	}
}
