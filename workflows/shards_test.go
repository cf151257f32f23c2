package workflows_test

import (
	"testing"

	"github.com/captioner/captioner/workflows"
)

// TestShards: pictures are cut into as many shards as let several workers share
// them, and none is small or larger than it may be.
func TestShards(t *testing.T) {
	for _, test := range []struct {
		name   string
		images int
		most   int
		frozen bool
		want   int
	}{
		{"few", 1999, 10_000, false, 1999},
		{"a smaller limit", 1999, 100, false, 100},
		{"Flickr8k", 8091, 10_000, false, 2000},
		{"Flickr8k through a frozen encoder", 8091, 10_000, true, 506},
		{"few through a frozen encoder", 700, 10_000, true, 200},
		{"COCO", 123_287, 10_000, false, 7706},
		{"millions", 5_000_000, 10_000, true, 10_000},
	} {
		if got := min(workflows.ShardSize(test.images, test.most, test.frozen), test.images); got != test.want {
			t.Errorf("%s: shards of %d pictures, want %d", test.name, got, test.want)
		}
	}
}
