package config_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/config"
)

// FuzzParse: whatever comes in, there is a configuration that passes every rule
// and survives being written and read, or problems with a message each.
func FuzzParse(f *testing.F) {
	for _, format := range []bool{true, false} {
		f.Add(config.Marshal(captioner.DefaultConfig()), format)
		f.Add([]byte(`{"data": {"images": "a", "captions": "b", "seed": 1}, "training": {"checkpoint_interval": "1m"}}`), format)
		f.Add([]byte("data:\n  split_ratios: {train: .5, validation: 2.5e-1, test: 0.25}\nmodel:\n  heads: &a 2\n  width: *a\n"), format)
		f.Add([]byte("training: {epochs: 1_0, epsilon: .nan, ? [x] : |\n  y\n"), format)
	}
	f.Fuzz(func(t *testing.T, data []byte, yaml bool) {
		if len(data) > 4<<10 {
			return // the parser's time is quadratic; what is large teaches nothing
		}
		format := config.JSON
		if yaml {
			format = config.YAML
		}
		c, err := config.Parse(data, format)
		if err != nil {
			problems := captioner.ProblemsOf(err)
			if captioner.KindOf(err) != captioner.Invalid || len(problems) == 0 {
				t.Fatalf("%v", err)
			}
			for _, p := range problems {
				if p.Message == "" || p.Line < 0 || (p.Line == 0) != (p.Column == 0) {
					t.Errorf("bad problem %#v", p)
				}
			}
			return
		}
		if problems := config.Check(c); len(problems) > 0 {
			t.Errorf("accepted, and refused by Check: %v", problems)
		}
		again, err := config.Parse(config.Marshal(c), config.YAML)
		if diff := cmp.Diff(c, again); diff != "" || err != nil {
			t.Errorf("written and read again: %v\n%s", err, diff)
		}
	})
}

// TestGoldenParses reads what Marshal has written for the defaults.
func TestGoldenParses(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("testdata", "default.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := config.Parse(data, config.YAML)
	if diff := cmp.Diff(captioner.DefaultConfig(), got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}
