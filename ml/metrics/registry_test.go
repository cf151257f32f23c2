package metrics_test

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/ml/metrics"
)

// faulty is what the metric "faulty" returns; set by one test at a time.
var faulty = 0.25

func init() {
	metrics.Register("faulty", func(hyps [][]string, refs [][][]string) float64 { return faulty })
}

func scoreOne() (captioner.Scores, error) {
	return metrics.Score("beam", "", captioner.DefaultConfig().Evaluation, []string{"a dog"}, [][]string{{"a dog"}})
}

func TestRegister(t *testing.T) {
	names := metrics.Names()
	for _, name := range []string{"bleu1", "bleu2", "bleu3", "bleu4", "faulty"} {
		if !slices.Contains(names, name) {
			t.Errorf("Names() = %v, want %s among them", names, name)
		}
	}
	s, err := scoreOne()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]float64{"bleu1": s.BLEU1, "bleu2": s.BLEU2, "bleu3": s.BLEU3, "bleu4": s.BLEU4, "faulty": 0.25} {
		if got, ok := metrics.Value(s, name); !ok || got != want {
			t.Errorf("Value(%s) = %v, %v, want %v", name, got, ok, want)
		}
	}
	if _, ok := metrics.Value(s, "none"); ok {
		t.Error("a metric that nobody registered has a value")
	}
	for name, want := range map[string]string{"bleu4": "BLEU-4", "faulty": "faulty"} {
		if got := metrics.Label(name); got != want {
			t.Errorf("Label(%s) = %q, want %q", name, got, want)
		}
	}
}

func TestRegisterTwice(t *testing.T) {
	for _, name := range []string{"", "faulty", "bleu4"} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("registering %q did not panic", name)
				}
			}()
			metrics.Register(name, func([][]string, [][][]string) float64 { return 0 })
		}()
	}
}

// A number that is no score is not kept as one.
func TestMetricOutOfRange(t *testing.T) {
	defer func(v float64) { faulty = v }(faulty)
	for _, v := range []float64{-0.1, 1.5, math.NaN()} {
		faulty = v
		if _, err := scoreOne(); captioner.KindOf(err) != captioner.Internal || !strings.Contains(err.Error(), `"faulty"`) {
			t.Errorf("a metric of %v: error %v, want one that names it", v, err)
		}
	}
}
