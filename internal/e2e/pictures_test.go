package e2e_test

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/captioner/captioner"
)

// TestPictures trains on a folder with every kind of picture in it, and some
// that are none, and then sends the same files to /predict.
func TestPictures(t *testing.T) {
	p := needPrograms(t)
	data := pictures(t, 100)
	data.SplitFiles = captioner.SplitFiles{}
	data.MinWordCount = 1
	good, bad := oddPictures(t), brokenPictures(t)
	addPictures(t, data, good)
	addPictures(t, data, bad.files)
	l := startLocal(t, p, filepath.Join(t.TempDir(), "data"))

	// The 95 % that a run needs are there.
	cfg := smallConfig(data, 40)
	run := l.awaitEnd(t, l.startRun(t, cfg), 3*time.Minute)
	if run.State != captioner.RunCompleted || run.Result.LeftOut == nil {
		t.Fatalf("the run ended as %s: %s %v, result %+v", run.State, run.Error, run.Problems, run.Result)
	}
	got := map[string]string{}
	for _, q := range run.Result.LeftOut.First {
		got[q.Image] = q.Reason
	}
	if diff := cmp.Diff(bad.reasons, got); diff != "" {
		t.Errorf("quarantine (-want +got):\n%s", diff)
	}
	out := p.mustRun(t, "runs", "show", run.ID, "--server", l.api)
	for name := range bad.files {
		if !strings.Contains(out, name) {
			t.Errorf("captioner runs show does not name %s:\n%s", name, out)
		}
	}

	t.Run("predict", func(t *testing.T) {
		for name, file := range good {
			if r, code := l.predict(t, file, "greedy"); code != http.StatusOK || len(r.ImageSize) != 2 {
				t.Errorf("%s: status %d %s, want a caption", name, code, r.Code)
			}
		}
		for name, file := range bad.files {
			if r, code := l.predict(t, file, "greedy"); code < 400 || code > 499 || r.Code != "image_"+bad.reasons[name] {
				t.Errorf("%s: status %d %s, want 4xx image_%s", name, code, r.Code, bad.reasons[name])
			}
		}
	})

	// Of fewer pictures less than 95 % would be usable.
	t.Run("too many broken ones", func(t *testing.T) {
		cfg.Data.MinUsable = 0.99
		run := l.awaitEnd(t, l.startRun(t, cfg), time.Minute)
		if run.State != captioner.RunFailed {
			t.Fatalf("the run ended as %s, want it failed", run.State)
		}
		problems := fmt.Sprint(run.Problems)
		for _, want := range []string{"99.0 % are needed", "empty: 1 picture", "truncated: 1 picture", "too_large: 1 picture", "unsupported: 1 picture"} {
			if !strings.Contains(problems, want) {
				t.Errorf("problems %s, want %q among them", problems, want)
			}
		}
	})
	l.stop(t)
}

// addPictures puts files into a data set, each with a caption.
func addPictures(t testing.TB, data captioner.DataConfig, files map[string][]byte) {
	t.Helper()
	captions, err := os.OpenFile(data.Captions, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer captions.Close()
	for name, file := range files {
		if err := os.WriteFile(filepath.Join(data.Images, name), file, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fprintf(captions, "%s,A picture of an odd kind .\n", name); err != nil {
			t.Fatal(err)
		}
	}
}

// oddPictures are all that must be captioned: the formats of ml/images' tests,
// every EXIF orientation, and extensions that are wrong.
func oddPictures(t testing.TB) map[string][]byte {
	t.Helper()
	dir := filepath.Join("..", "..", "ml", "images", "testdata")
	files := map[string][]byte{}
	for _, format := range []string{"jpg", "png", "gif", "bmp", "webp"} {
		found, err := filepath.Glob(filepath.Join(dir, "*."+format))
		if err != nil || len(found) < 3 {
			t.Fatalf("pictures of format %s in %s: %v, %v", format, dir, found, err)
		}
		for _, path := range found {
			files["odd_"+filepath.Base(path)] = readFile(t, path)
		}
	}
	for orientation := 1; orientation <= 8; orientation++ {
		files[fmt.Sprintf("turned%d.jpg", orientation)] = turned(t, byte(orientation))
	}
	files["rgb16.png"] = deep(t)
	files["a_jpeg.png"] = files["odd_baseline.jpg"]
	files["a_webp.jpg"] = files["odd_lossy.webp"]
	return files
}

// turned returns a JPEG whose EXIF data give the orientation.
func turned(t testing.TB, orientation byte) []byte {
	t.Helper()
	file := encoded(t, 30, 20)
	exif := []byte{0xff, 0xe1, 0, 34, 'E', 'x', 'i', 'f', 0, 0, // the segment
		'M', 'M', 0, 42, 0, 0, 0, 8, 0, 1, // one entry in the directory:
		0x01, 0x12, 0, 3, 0, 0, 0, 1, 0, orientation, 0, 0, 0, 0, 0, 0}
	return bytes.Join([][]byte{file[:2], exif, file[2:]}, nil)
}

// deep returns a PNG with 16 bits a channel.
func deep(t testing.TB) []byte {
	t.Helper()
	img := image.NewNRGBA64(image.Rect(0, 0, 20, 30))
	for i := range img.Pix {
		img.Pix[i] = 0xff
	}
	img.SetNRGBA64(3, 4, color.NRGBA64{R: 0x1234, G: 0x5678, B: 0x9abc, A: 0xffff})
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func encoded(t testing.TB, width, height int) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := jpeg.Encode(&b, image.NewRGBA(image.Rect(0, 0, width, height)), nil); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// broken are files that are no pictures, and the reasons to be given.
type broken struct {
	files   map[string][]byte
	reasons map[string]string
}

func brokenPictures(t testing.TB) broken {
	t.Helper()
	jpg := encoded(t, 40, 40)
	sizes := bytes.Index(jpg, []byte{0xff, 0xc0}) + 5
	huge := bytes.Clone(jpg)
	copy(huge[sizes:], []byte{0xff, 0xff, 0xff, 0xff}) // 65,535 × 65,535
	damaged := readFile(t, filepath.Join("..", "..", "ml", "images", "testdata", "rgb.png"))
	damaged[bytes.Index(damaged, []byte("IDAT"))+40] ^= 0xff // only decoding can tell
	return broken{
		files: map[string][]byte{
			"empty.jpg": {}, "text.jpg": []byte("not a picture"), "cut.jpg": jpg[:len(jpg)*2/3], "huge.jpg": huge, "damaged.png": damaged,
		},
		reasons: map[string]string{
			"empty.jpg": "empty", "text.jpg": "unsupported", "cut.jpg": "truncated", "huge.jpg": "too_large", "damaged.png": "corrupt",
		},
	}
}
