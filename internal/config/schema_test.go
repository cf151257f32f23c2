package config_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/config"
	"github.com/captioner/captioner/ml/metrics"
)

// property is a member of the schema as a reader sees it.
type property struct {
	Type             string
	Description      string
	Default          any
	Enum             []string
	Minimum          *float64
	Maximum          *float64
	ExclusiveMinimum *float64
	ExclusiveMaximum *float64
	Properties       map[string]property
}

func readSchema(t *testing.T) (property, string) {
	t.Helper()
	data, err := config.Schema()
	if err != nil {
		t.Fatal(err)
	}
	var root property
	if err := json.Unmarshal(data, &root); err != nil {
		t.Fatal(err)
	}
	return root, string(data)
}

// TestSchemaHasEveryField compares the schema with the default configuration as
// JSON, member by member.
func TestSchemaHasEveryField(t *testing.T) {
	root, _ := readSchema(t)
	data, err := json.Marshal(captioner.DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	var defaults map[string]any
	if err := json.Unmarshal(data, &defaults); err != nil {
		t.Fatal(err)
	}
	if p := root.Properties["preset"]; p.Type != "string" || p.Default != "" || len(p.Enum) != 1+len(config.Presets()) || p.Description == "" {
		t.Errorf("preset = %+v", p)
	}
	delete(root.Properties, "preset") // which no configuration keeps
	fields := 0
	var compare func(name string, p property, want any)
	compare = func(name string, p property, want any) {
		if p.Description == "" && name != "" {
			t.Errorf("%s has no description", name)
		}
		section, isSection := want.(map[string]any)
		if !isSection {
			fields++
			if p.Type == "object" || p.Default != want {
				t.Errorf("%s: type %q with default %v, want %v", name, p.Type, p.Default, want)
			}
			return
		}
		if p.Type != "object" || len(p.Properties) != len(section) {
			t.Errorf("%q: type %q with %d members, want an object with %d", name, p.Type, len(p.Properties), len(section))
		}
		for key, value := range section {
			compare(strings.TrimPrefix(name+"."+key, "."), p.Properties[key], value)
		}
	}
	compare("", root, defaults)
	if fields < 40 {
		t.Errorf("%d fields, want all of them", fields)
	}
}

func TestSchemaOfSomeFields(t *testing.T) {
	root, text := readSchema(t)
	data, training := root.Properties["data"].Properties, root.Properties["training"].Properties
	if p := training["steps"]; p.Type != "integer" || *p.Minimum != 1 || *p.Maximum != 10_000_000 || p.Default != 3600.0 {
		t.Errorf("training.steps = %+v", p)
	}
	if p := training["learning_rate"]; p.Type != "number" || *p.ExclusiveMinimum != 0 || *p.Maximum != 1 || p.Minimum != nil {
		t.Errorf("training.learning_rate = %+v", p)
	}
	if p := training["checkpoint_interval"]; p.Type != "string" || p.Default != "1m0s" {
		t.Errorf("training.checkpoint_interval = %+v", p)
	}
	if p := root.Properties["promotion"].Properties["metric"]; !slices.Equal(p.Enum, metrics.Names()) {
		t.Errorf("promotion.metric = %+v", p)
	}
	for name, want := range map[string]string{
		// The comment above a group of fields, with their names in files.
		training["warmup_steps"].Description:    "reached after warmup_steps and then lowered",
		training["beta2"].Description:           "beta1, beta2 and epsilon are Adam's",
		data["captions"].Description:            "captions is the captions file; for COCO also",
		data["split_files"].Description:         "All three or none",
		data["vocabulary"].Description:          "rarer words become the unknown token",
		root.Properties["training"].Description: "training describes how the weights are found",
	} {
		if !strings.Contains(name, want) {
			t.Errorf("description %q, want one with %q", name, want)
		}
	}
	if a, b := strings.Index(text, `"images"`), strings.Index(text, `"captions"`); a < 0 || a > b {
		t.Error("the fields are not in the order of the configuration")
	}
}
