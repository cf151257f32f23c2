package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/captioner/captioner"
)

// What a person needs next is in what is printed of a run.
func TestPrintRun(t *testing.T) {
	started := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	finished := started.Add(time.Minute)
	version := captioner.DigestOf([]byte("version"))
	for _, test := range []struct {
		name        string
		run         captioner.Run
		want, never string
	}{
		{"trace", captioner.Run{TraceID: "0af7651916cd43dd8448eb211c80319c"}, "trace     0af7651916cd43dd8448eb211c80319c\n", "promote"},
		{"held", captioner.Run{Result: &captioner.RunResult{Version: version, Decision: captioner.Decision{Outcome: captioner.Hold}}},
			"captioner models promote " + version.Short(), "live      yes"},
		{"live", captioner.Run{Result: &captioner.RunResult{Version: version, Decision: captioner.Decision{Outcome: captioner.Promote}, Deployed: true}},
			"live      yes", "models promote"},
		{"warned", captioner.Run{Result: &captioner.RunResult{Version: version, Warnings: []string{"InceptionV3 was trained from random weights"}}},
			"warning   InceptionV3 was trained from random weights\n", "note"},
	} {
		test.run.StartedAt, test.run.FinishedAt = started, &finished
		var out bytes.Buffer
		if err := printRun(&out, test.run); err != nil {
			t.Fatal(err)
		}
		if got := out.String(); !strings.Contains(got, test.want) || strings.Contains(got, test.never) {
			t.Errorf("%s: want %q and not %q in\n%s", test.name, test.want, test.never, got)
		}
	}
}
