package metrics

import (
	"maps"
	"math"
	"slices"
	"strings"
	"sync"

	"github.com/captioner/captioner"
)

// Metric scores the captions of a split against their references, all of them
// tokenized, and returns a number in [0, 1], the higher the better. There is at
// least one picture, and each has at least one reference.
//
//	hyps  [pictures][tokens]
//	refs  [pictures][references][tokens]
type Metric func(hyps [][]string, refs [][][]string) float64

// bleu are the metrics that every score has, in a field each.
var bleu = []string{"bleu1", "bleu2", "bleu3", "bleu4"}

var registry = struct {
	sync.RWMutex
	byName map[string]Metric
}{byName: map[string]Metric{}}

// Register adds a metric under a name, which must be new: it panics otherwise.
// Call it from an init function. Each run then scores it, shows it, and may
// decide by it. A change of its numbers needs another name.
func Register(name string, m Metric) {
	registry.Lock()
	defer registry.Unlock()
	if name == "" || m == nil || registry.byName[name] != nil || slices.Contains(bleu, name) {
		panic("metrics: metric " + name + " is empty or registered twice")
	}
	registry.byName[name] = m
}

// Others returns the names of the metrics beside BLEU, sorted.
func Others() []string {
	registry.RLock()
	defer registry.RUnlock()
	return slices.Sorted(maps.Keys(registry.byName))
}

// Names returns the names of all metrics: BLEU-1 to BLEU-4, then the others.
func Names() []string { return append(slices.Clone(bleu), Others()...) }

// Label writes the name of a metric as people do: "bleu4" as "BLEU-4".
func Label(name string) string {
	if slices.Contains(bleu, name) {
		return strings.Replace(name, "bleu", "BLEU-", 1)
	}
	return name
}

// Value returns the score of the metric of that name, and whether there is one.
func Value(s captioner.Scores, name string) (float64, bool) {
	switch name {
	case "bleu1":
		return s.BLEU1, true
	case "bleu2":
		return s.BLEU2, true
	case "bleu3":
		return s.BLEU3, true
	case "bleu4":
		return s.BLEU4, true
	}
	v, ok := s.Metrics[name]
	return v, ok
}

// scoreOthers returns the scores of the metrics beside BLEU; nil without any.
func scoreOthers(hyps [][]string, refs [][][]string) (map[string]float64, error) {
	registry.RLock()
	defer registry.RUnlock()
	if len(registry.byName) == 0 {
		return nil, nil
	}
	scores := make(map[string]float64, len(registry.byName))
	for name, metric := range registry.byName {
		v := metric(hyps, refs)
		if math.IsNaN(v) || v < 0 || v > 1 {
			return nil, captioner.Errorf(captioner.Internal, "metric %q gave %v, which is not in [0, 1]", name, v)
		}
		scores[name] = v
	}
	return scores, nil
}
