package memory_test

import (
	"runtime/debug"
	"testing"

	"github.com/captioner/captioner/internal/memory"
)

func TestCollectSeldom(t *testing.T) {
	before := debug.SetGCPercent(100)
	defer debug.SetGCPercent(before)
	for _, tt := range []struct {
		variable string
		want     int
	}{{"50", 100}, {"", 400}} {
		t.Setenv("GOGC", tt.variable)
		memory.CollectSeldom()
		got := debug.SetGCPercent(100)
		if got != tt.want {
			t.Errorf("with GOGC=%q the percentage is %d, want %d", tt.variable, got, tt.want)
		}
	}
}
