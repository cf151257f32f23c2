package captioner_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/captioner/captioner"
)

// What is at its default and came later leaves no trace, in the whole as in a
// section of it; everything else stays, in its order.
func TestEssential(t *testing.T) {
	encode := func(v any) string {
		t.Helper()
		data, err := json.Marshal(captioner.Essential(v))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	c := captioner.DefaultConfig()
	for name, text := range map[string]string{"configuration": encode(c), "section": encode(c.Training)} {
		if strings.Contains(text, "schedule") || strings.Contains(text, "devices") || !strings.Contains(text, `"learning_rate":0.002,"warmup_steps":100,"min_learning_rate_ratio"`) {
			t.Errorf("%s: %s", name, text)
		}
	}
	c.Training.Schedule, c.Training.Devices = captioner.ScheduleConstant, 2
	if text := encode(c); !strings.Contains(text, `"schedule":"constant"`) || !strings.HasSuffix(encode(c.Training), `,"devices":2}`) {
		t.Error(text)
	}
}

// The digest of the configuration as it was before the first field was added:
// whoever changes it makes everybody train again.
func TestEssentialDigest(t *testing.T) {
	digest, err := captioner.DigestJSON(captioner.Essential(captioner.DefaultConfig()))
	if err != nil {
		t.Fatal(err)
	}
	if want := "395d7ded107d"; digest.Short() != want {
		t.Errorf("the defaults have the digest %s, want %s", digest.Short(), want)
	}
}
