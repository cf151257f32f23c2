package predict_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/ml/features"
	"github.com/captioner/captioner/ml/predict"
)

// stamp is a Preprocessor whose squares, 2 × 2, repeat the last byte of the file.
type stamp struct{ before func() }

func (s stamp) Bytes(data []byte, _ int) ([]byte, error) {
	if s.before != nil {
		s.before()
	}
	return bytes.Repeat(data[len(data)-1:], 2*2*3), nil
}

func (s stamp) Pixels([]byte, int, int, int) ([]byte, error) { return nil, errors.New("not asked for") }

// writePictures makes n files that pass for pictures, two of which are not.
func writePictures(t *testing.T, n int) (dir string, names []string) {
	t.Helper()
	dir = t.TempDir()
	good := plain(t, red)
	for i := range n {
		name := fmt.Sprintf("%03d.png", i)
		data := append(bytes.Clone(good), byte(i)) // what follows a PNG's end does not matter
		switch i {
		case 3:
			data = nil
		case 5:
			data = []byte("hello")
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	return dir, append(names, "gone.png", "../outside.png")
}

func TestExtractFeatures(t *testing.T) {
	dir, names := writePictures(t, 40)
	if err := os.WriteFile(filepath.Join(dir, "..", "outside.png"), plain(t, red), 0o644); err != nil {
		t.Fatal(err)
	}
	var first []byte
	for _, threads := range []int{1, 3} {
		req := captioner.ExtractRequest{
			ImagesDir: dir, Images: names, MaxPixels: 1000, Threads: threads, Output: filepath.Join(t.TempDir(), "shard"),
		}
		var progress []int
		got, err := predict.ExtractFeatures(t.Context(), stamp{}, predict.Squares(2), req, func(done int) { progress = append(progress, done) })
		if err != nil {
			t.Fatal(err)
		}
		var reasons []string
		for _, q := range got.Quarantine {
			reasons = append(reasons, q.Image+" "+q.Reason)
		}
		want := []string{"003.png empty", "005.png unsupported", "gone.png missing", "../outside.png unreadable"}
		if diff := cmp.Diff(want, reasons); diff != "" {
			t.Errorf("quarantine (-want +got):\n%s", diff)
		}
		if len(progress) != len(names) || progress[len(names)-1] != len(names) {
			t.Errorf("progress %v, want 1 to %d", progress, len(names))
		}
		data, err := os.ReadFile(req.Output)
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = data
		} else if !bytes.Equal(first, data) {
			t.Error("another number of threads gave other bytes")
		}
		checkShard(t, req.Output, got.Images)
	}
}

// checkShard looks for each picture's stamp under its name.
func checkShard(t *testing.T, path string, want []string) {
	t.Helper()
	r, err := features.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if r.Len() != 38 || len(want) != 38 {
		t.Fatalf("%d pictures in the shard, %d in the result, want 38", r.Len(), len(want))
	}
	for i, name := range want {
		if got := fmt.Sprintf("%03d.png", r.Record(i)[0]); r.Image(i) != name || got != name {
			t.Errorf("picture %d: name %s, pixels of %s, want %s", i, r.Image(i), got, name)
		}
	}
}

// doubler is an Encoder of batches of 7 that says for how many pictures at a time
// it was asked. What it makes of a picture is its stamp, twice.
type doubler struct {
	mu    sync.Mutex
	asked []int
	fail  error
	hold  chan struct{} // where there is one, Encode waits until it is closed
}

func (*doubler) Layout() features.Layout {
	return features.Layout{Type: features.Float16, Height: 1, Width: 1, Channels: 1, Source: "a test"}
}

func (*doubler) Batch() int { return 7 }

func (d *doubler) Encode(squares [][]byte) ([][]byte, error) {
	if d.hold != nil {
		<-d.hold
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked = append(d.asked, len(squares))
	records := make([][]byte, len(squares))
	for i, square := range squares {
		records[i] = bytes.Repeat(square[:1], 2)
	}
	return records, d.fail
}

// A frozen encoder gets the pictures in batches, and its output is kept in the
// order of the request.
func TestExtractFeaturesEncodes(t *testing.T) {
	dir, names := writePictures(t, 40)
	for _, threads := range []int{1, 3} {
		req := captioner.ExtractRequest{
			ImagesDir: dir, Images: names, MaxPixels: 1000, Threads: threads, Output: filepath.Join(t.TempDir(), "shard"),
		}
		e := &doubler{}
		got, err := predict.ExtractFeatures(t.Context(), stamp{}, e, req, nil)
		if err != nil || len(got.Quarantine) != 4 {
			t.Fatalf("%d in quarantine, %v", len(got.Quarantine), err)
		}
		slices.Sort(e.asked)
		if !slices.Equal(e.asked, []int{5, 5, 7, 7, 7, 7}) { // two of the first seven are no pictures, two of the last
			t.Errorf("batches of %v", e.asked)
		}
		checkShard(t, req.Output, got.Images)
	}
}

// However many pictures a shard has, a few are in memory: those that are prepared
// wait for the encoder.
func TestExtractFeaturesWaits(t *testing.T) {
	const pictures, threads = 200, 2
	dir, names := writePictures(t, pictures)
	out := filepath.Join(t.TempDir(), "shard")
	synctest.Test(t, func(t *testing.T) {
		var prepared atomic.Int64
		e := &doubler{hold: make(chan struct{})}
		finished := make(chan error, 1)
		go func() {
			req := captioner.ExtractRequest{ImagesDir: dir, Images: names, MaxPixels: 1000, Threads: threads, Output: out}
			_, err := predict.ExtractFeatures(t.Context(), stamp{before: func() { prepared.Add(1) }}, e, req, nil)
			finished <- err
		}()
		synctest.Wait() // until nothing goes on
		// Two batches with the encoder, one that waits for it, one that is being
		// put together, and what each thread has prepared.
		if got := prepared.Load(); got < 7 || got > 4*7+4*threads {
			t.Errorf("%d pictures were prepared while the encoder took none", got)
		}
		close(e.hold)
		if err := <-finished; err != nil {
			t.Error(err)
		}
	})
}

func TestExtractFeaturesEncoderFails(t *testing.T) {
	dir, names := writePictures(t, 40)
	out := t.TempDir()
	req := captioner.ExtractRequest{ImagesDir: dir, Images: names, MaxPixels: 1000, Threads: 2, Output: filepath.Join(out, "shard")}
	broken := errors.New("out of memory")
	if _, err := predict.ExtractFeatures(t.Context(), stamp{}, &doubler{fail: broken}, req, nil); !errors.Is(err, broken) {
		t.Errorf("error %v, want the encoder's", err)
	}
	if left, _ := os.ReadDir(out); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestExtractFeaturesCancelled(t *testing.T) {
	dir, names := writePictures(t, 40)
	ctx, cancel := context.WithCancel(t.Context())
	out := t.TempDir()
	req := captioner.ExtractRequest{
		ImagesDir: dir, Images: names, MaxPixels: 1000, Threads: 2, Output: filepath.Join(out, "shard"),
	}
	_, err := predict.ExtractFeatures(ctx, stamp{before: cancel}, predict.Squares(2), req, nil)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	if left, _ := os.ReadDir(out); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestExtractFeaturesWithoutFolder(t *testing.T) {
	req := captioner.ExtractRequest{ImagesDir: filepath.Join(t.TempDir(), "none"), Output: filepath.Join(t.TempDir(), "shard")}
	if _, err := predict.ExtractFeatures(t.Context(), stamp{}, predict.Squares(2), req, nil); captioner.KindOf(err) != captioner.NotFound {
		t.Errorf("got %v, want NotFound", err)
	}
}
