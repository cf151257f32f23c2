package main

import (
	"strings"
	"testing"
)

func TestTable(t *testing.T) {
	var all results
	for text := range strings.Lines(`goos: linux
BenchmarkEncode/InceptionV3/batch=1-2 	 3	 20.0 pictures/s	 19.0 keras-pictures/s	 30.0 bfloat16-pictures/s
BenchmarkEncode/InceptionV3/batch=8-2 	 3	 36.0 pictures/s	 30.0 keras-pictures/s	 45.0 bfloat16-pictures/s
BenchmarkExtract/InceptionV3-2        	 3	 1.4 keras-ratio	 0.96 share
BenchmarkTwoWorkers-2                 	 1	 55.3 both-%
BenchmarkOther-2                      	 1	 1 ns/op
PASS
`) {
		if r, ok := parse(strings.TrimSpace(text)); ok {
			all = append(all, r)
		}
	}
	if len(all) != 5 {
		t.Fatalf("%d results, want 5", len(all))
	}
	var got []string
	for text := range strings.Lines(table(all)) {
		got = append(got, strings.Join(strings.Fields(text), " "))
	}
	want := []string{
		"what benchmark measured must goal",
		"encoder against the frozen Keras graph, float32 Encode/InceptionV3 1.2 1 1.2 goal",
		"the same, bfloat16 Encode/InceptionV3 1.5 1.6",
		"extraction against the original's Extract/InceptionV3 1.4 1.5 2 MISSED",
		"extraction, share of the encoder alone Extract/InceptionV3 0.96 0.95 goal",
		"two workers, % of one's time TwoWorkers 55.3 56",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("the table is\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
