package e2e_test

import (
	"bytes"
	"image"
	"image/jpeg"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/captioner/captioner"
)

// TestCollapsedModelIsRejected trains on plain grey pictures, in which there is
// nothing to tell one from the other: the model says the same about all of them,
// and must not go live in the place of one that was trained on the real ones.
func TestCollapsedModelIsRejected(t *testing.T) {
	p := needPrograms(t)
	data := pictures(t, 130)
	data.SplitFiles = captioner.SplitFiles{}
	data.SplitRatios = captioner.SplitRatios{Train: 0.4, Validation: 0.2, Test: 0.4} // 52 test pictures
	l := startLocal(t, p, filepath.Join(t.TempDir(), "data"))

	// A model this small may say little, too: it is not judged.
	cfg := smallConfig(data, 60)
	cfg.Promotion.CollapseMinImages = 1000
	live := l.awaitEnd(t, l.startRun(t, cfg), 3*time.Minute)
	if live.State != captioner.RunCompleted || !live.Result.Deployed {
		t.Fatalf("the first run ended as %s (%s), result %+v; want a version that is live", live.State, live.Error, live.Result)
	}
	picture := readFile(t, firstPicture(t, data.Images))

	makeGrey(t, data.Images)
	run := l.awaitEnd(t, l.startRun(t, smallConfig(data, 60)), 3*time.Minute)
	if run.State != captioner.RunCompleted {
		t.Fatalf("the run on grey pictures ended as %s: %s", run.State, run.Error)
	}
	result := run.Result
	if result.Decision.Outcome != captioner.Reject || result.Deployed {
		t.Errorf("decision %+v, deployed %v; want it rejected", result.Decision, result.Deployed)
	}
	if len(result.Decision.Reasons) != 2 {
		t.Errorf("reasons %q, want one for greedy search and one for beam search", result.Decision.Reasons)
	}
	for _, s := range result.Evaluation.Scores {
		if s.Images < 50 || s.CollapseShare != 1 || s.CollapseReferenceShare >= 0.25 {
			t.Errorf("%s: one caption for %v of %d pictures and %v of the references; want all of at least 50, and less than a quarter",
				s.Algorithm, s.CollapseShare, s.Images, s.CollapseReferenceShare)
		}
	}

	// The rejected version is in the registry, and the one before goes on serving.
	var models struct {
		Models     []captioner.ModelVersion `json:"models"`
		Production captioner.Alias          `json:"production"`
	}
	l.get(t, "/models", &models)
	if len(models.Models) != 2 || models.Production.Version != live.Result.Version {
		t.Errorf("%d versions, %s live; want two, and %s still live", len(models.Models), models.Production.Version, live.Result.Version)
	}
	if r, code := l.predict(t, picture, "beam"); code != http.StatusOK || r.ModelVersion != live.Result.Version {
		t.Errorf("/predict: status %d by version %s, want version %s", code, r.ModelVersion, live.Result.Version)
	}
	l.stop(t)
}

// makeGrey replaces each picture by a grey one. They differ in size alone, so
// that no two are the same file.
func makeGrey(t testing.TB, dir string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.jpg"))
	if err != nil {
		t.Fatal(err)
	}
	for i, file := range files {
		img := image.NewGray(image.Rect(0, 0, 60+i, 50))
		for at := range img.Pix {
			img.Pix[at] = 128
		}
		var b bytes.Buffer
		if err := jpeg.Encode(&b, img, nil); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
