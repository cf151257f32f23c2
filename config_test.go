package captioner_test

import (
	"testing"

	"github.com/captioner/captioner"
)

func TestStoredSize(t *testing.T) {
	for side, want := range map[int]int{32: 36, 64: 72, 96: 108, 100: 112} {
		if got := (captioner.ModelConfig{ImageSize: side}).StoredSize(); got != want {
			t.Errorf("%d pixels are stored as %d, want %d", side, got, want)
		}
	}
}
