// Command benchreport reads the output of `go test -bench` on standard input and
// passes it on. It ends with a table of what was measured of what the project
// promises: the numbers that must be reached, and the goals beyond. Its exit code
// is 1 when a benchmark failed.
package main

import (
	"bufio"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"text/tabwriter"
)

func main() {
	var all results
	failed := false
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 16<<20)
	for in.Scan() {
		fmt.Println(in.Text())
		failed = failed || strings.HasPrefix(in.Text(), "FAIL") || strings.HasPrefix(in.Text(), "--- FAIL")
		if r, ok := parse(in.Text()); ok {
			all = append(all, r)
		}
	}
	if err := in.Err(); err != nil {
		fmt.Fprintln(os.Stderr, "benchreport:", err)
		os.Exit(1)
	}
	fmt.Printf("\n%s", table(all))
	if failed {
		os.Exit(1)
	}
}

// result is one benchmark's, with its metrics by unit.
type result struct {
	name    string
	metrics map[string]float64
}

type results []result

var line = regexp.MustCompile(`^Benchmark(\S+?)(?:-\d+)?\s+\d+\s+(.*)$`)

// parse reads a line such as "BenchmarkStep/a-2  3  1.5 ms  2 times-as-fast".
func parse(text string) (result, bool) {
	m := line.FindStringSubmatch(text)
	if m == nil {
		return result{}, false
	}
	r := result{name: m[1], metrics: map[string]float64{}}
	fields := strings.Fields(m[2])
	for i := 0; i+1 < len(fields); i += 2 {
		value, err := strconv.ParseFloat(fields[i], 64)
		if err != nil {
			return result{}, false
		}
		r.metrics[fields[i+1]] = value
	}
	return r, true
}

// best returns the largest value of a metric in the benchmarks below a name.
func (all results) best(prefix, metric string) (best float64) {
	for _, r := range all {
		if strings.HasPrefix(r.name, prefix) {
			best = max(best, r.metrics[metric])
		}
	}
	return best
}

// row is a line of the table, of each benchmark that the pattern matches.
type row struct {
	what, pattern string
	// value is the metric of that unit, or a ratio of two benchmarks' best.
	value      func(all results, name string) float64
	must, goal float64
	most       bool // must and goal are the most, not the least
}

// metric is the value of one unit.
func metric(unit string) func(results, string) float64 {
	return func(all results, name string) float64 { return all.best(name, unit) }
}

// best is the quotient of the best values of two units over all batch sizes.
func best(unit, of string) func(results, string) float64 {
	return func(all results, name string) float64 {
		encoder, _, _ := strings.Cut(strings.TrimPrefix(name, "Encode/"), "/")
		return all.best("Encode/"+encoder, unit) / all.best("Encode/"+encoder, of)
	}
}

// rows are the promises that a benchmark measures; docs/results.md has the others.
var rows = []row{
	{what: "encoder against the frozen Keras graph, float32", pattern: `^Encode/.*/batch=1$`, value: best("pictures/s", "keras-pictures/s"), must: 1, goal: 1.2},
	{what: "the same, bfloat16", pattern: `^Encode/.*/batch=1$`, value: best("bfloat16-pictures/s", "keras-pictures/s"), goal: 1.6},
	{what: "extraction against the original's", pattern: `^Extract/`, value: metric("keras-ratio"), must: 1.5, goal: 2},
	{what: "extraction, share of the encoder alone", pattern: `^Extract/`, value: metric("share"), goal: 0.95},
	{what: "training step against Keras, same precision", pattern: `^AgainstKeras/`, value: metric("times-as-fast"), must: 1.05, goal: 1.25},
	{what: "training step, bfloat16 against Keras' float32", pattern: `^AgainstKeras/.*/bfloat16/`, value: metric("times-keras-float32"), must: 1.6, goal: 2},
	{what: "training loop against Keras' fit", pattern: `^Loop/`, value: metric("times-as-fast"), must: 1.2, goal: 1.5},
	{what: "epoch against the original's", pattern: `^AgainstKeras/lstm-pooled/float32/`, value: metric("epoch-ratio"), must: 12, goal: 20},
	{what: "start of an engine to the first caption, s", pattern: `^Start/EfficientNetB3$`, value: seconds, must: 3, goal: 1.5, most: true},
	{what: "checkpoint a minute, % of the time", pattern: `^Checkpoint`, value: metric("%-of-minute"), must: 3, most: true},
	{what: "tracing and metrics, % of the throughput", pattern: `^PredictObserved$`, value: metric("throughput-%"), must: 2, most: true},
	{what: "MLflow on, % more of a training's processor time", pattern: `^TrainTracked$`, value: metric("on_%more"), must: 1, most: true},
	{what: "MLflow away, % more of a training's processor time", pattern: `^TrainTracked$`, value: metric("away_%more"), must: 1, most: true},
	{what: "two workers, % of one's time", pattern: `^TwoWorkers$`, value: metric("both-%"), must: 56, most: true},
	{what: "POST /runs, p99, ms", pattern: `^StartRuns`, value: metric("p99_ms"), must: 200, most: true},
	{what: "upload of a blob, of the speed without a digest", pattern: `^Bucket`, value: metric("up-speed"), must: 0.8},
	{what: "download of a blob, of the speed without a digest", pattern: `^Bucket`, value: metric("down-speed"), must: 0.8},
}

func seconds(all results, name string) float64 { return all.best(name, "ns/op") / 1e9 }

// table has a line for each row that was measured.
func table(all results) string {
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "what\tbenchmark\tmeasured\tmust\tgoal\t")
	for _, row := range rows {
		pattern := regexp.MustCompile(row.pattern)
		for _, r := range all {
			if !pattern.MatchString(r.name) {
				continue
			}
			value := row.value(all, r.name)
			if value == 0 || value != value { // this machine does not do it
				continue
			}
			fmt.Fprintf(w, "%s\t%s\t%.3g\t%s\t%s\t%s\n", row.what, strings.TrimSuffix(r.name, "/batch=1"), value, number(row.must), number(row.goal), row.verdict(value))
		}
	}
	w.Flush()
	return text.String()
}

// number leaves out what is not asked.
func number(v float64) string {
	if v == 0 {
		return ""
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}

// verdict says what of the two is reached.
func (r row) verdict(value float64) string {
	reached := func(asked float64) bool { return asked != 0 && (value >= asked) != r.most || value == asked }
	switch {
	case reached(r.goal):
		return "goal"
	case r.must == 0 || reached(r.must):
		return ""
	}
	return "MISSED"
}
