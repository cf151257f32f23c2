package captions_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/captioner/captioner"
	_ "github.com/captioner/captioner/docs/examples/captions"
	"github.com/captioner/captioner/internal/config"
	"github.com/captioner/captioner/ml/dataset"
)

func TestLines(t *testing.T) {
	const file = `{"image": "a.jpg", "caption": "A dog ."}
{"image": "a.jpg", "caption": "A brown dog ."}
"b.jpg"
{"image": "../c.jpg", "caption": "A cat ."}
{"image": "b.jpg", "caption": ""}
`
	for _, format := range []string{"lines", dataset.Auto} {
		got, err := dataset.ReadCaptions(strings.NewReader(file), format)
		if err != nil {
			t.Fatal(err)
		}
		want := []dataset.CaptionLine{{Line: 1, Image: "a.jpg", Caption: "A dog ."}, {Line: 2, Image: "a.jpg", Caption: "A brown dog ."}}
		if diff := cmp.Diff(want, got.Lines); diff != "" {
			t.Errorf("%s: captions (-want +got):\n%s", format, diff)
		}
		var reasons []string
		for _, q := range got.Quarantine {
			reasons = append(reasons, q.Reason)
		}
		if !slices.Equal(reasons, []string{"no_image", dataset.ReasonInvalidName, dataset.ReasonEmptyCaption}) {
			t.Errorf("%s: left out for %v", format, reasons)
		}
	}
	if _, err := dataset.ReadCaptions(strings.NewReader(file), "token"); !strings.Contains(err.Error(), "this looks like JSON with a caption a line") {
		t.Errorf("read as another format: %v", err)
	}

	c := captioner.DefaultConfig()
	c.Data.Format = "lines"
	if problems := config.Check(c); len(problems) > 0 {
		t.Errorf("a configuration with the format has problems: %v", problems)
	}
}
