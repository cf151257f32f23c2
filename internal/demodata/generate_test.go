package demodata_test

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"image/jpeg"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/gofrs/flock"
	"github.com/google/go-cmp/cmp"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/demodata"
)

// small is a data set that takes a second.
var small = demodata.Options{Images: 60, Seed: 7}

// tiny takes a fifth of that.
var tiny = demodata.Options{Images: 10, Seed: 7}

func generate(t testing.TB, dir string, opt demodata.Options) {
	t.Helper()
	if err := demodata.Generate(context.Background(), dir, opt, nil); err != nil {
		t.Fatalf("Generate(%+v): %v", opt, err)
	}
}

func lines(t testing.TB, name string) []string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
}

func TestGenerateLayout(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "demo")
	var calls []int
	err := demodata.Generate(context.Background(), dir, small, func(done, total int) {
		calls = append(calls, done)
		if total != small.Images {
			t.Errorf("progress total = %d, want %d", total, small.Images)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(calls) != small.Images || !slices.IsSorted(calls) {
		t.Errorf("progress was told %v, want 1 to %d", calls, small.Images)
	}
	if !demodata.Complete(dir, small) {
		t.Error("Complete = false after Generate")
	}

	// The captions file: a header, then five lines a picture.
	if got := lines(t, filepath.Join(dir, "captions.txt"))[0]; got != "image,caption" {
		t.Errorf("header = %q", got)
	}
	count := map[string]int{}
	for _, row := range captionRows(t, dir) {
		count[row[0]]++
	}
	if len(count) != small.Images {
		t.Errorf("captions of %d pictures, want %d", len(count), small.Images)
	}

	// The split files: every picture once, in the shares of 2,000 : 200 : 300.
	got := map[string]int{}
	seen := map[string]bool{}
	for _, name := range []string{"Flickr_8k.trainImages.txt", "Flickr_8k.devImages.txt", "Flickr_8k.testImages.txt"} {
		for _, image := range lines(t, filepath.Join(dir, name)) {
			if seen[image] || count[image] != 5 {
				t.Errorf("%s: %q is listed before or has %d captions", name, image, count[image])
			}
			seen[image] = true
			got[name]++
		}
	}
	want := map[string]int{"Flickr_8k.trainImages.txt": 49, "Flickr_8k.devImages.txt": 4, "Flickr_8k.testImages.txt": 7}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("split sizes (-want +got):\n%s", diff)
	}

	// The pictures: whole JPEGs of the size that the truth says.
	truth, err := demodata.LoadTruth(dir)
	if err != nil {
		t.Fatal(err)
	}
	sizes := map[[2]int]bool{}
	for _, s := range truth.Scenes {
		data, err := os.ReadFile(filepath.Join(dir, "Images", s.Image))
		if err != nil {
			t.Fatal(err)
		}
		img, err := jpeg.Decode(bytes.NewReader(data))
		if err != nil {
			t.Fatalf("%s: %v", s.Image, err)
		}
		if b := img.Bounds(); b.Dx() != s.Width || b.Dy() != s.Height {
			t.Errorf("%s is %v, the truth says %d × %d", s.Image, b, s.Width, s.Height)
		}
		sizes[[2]int{s.Width, s.Height}] = true
	}
	if len(sizes) < 5 {
		t.Errorf("pictures of %d sizes, want 5 or more", len(sizes))
	}
	if entries := names(t, filepath.Dir(dir)); !slices.Equal(entries, []string{"demo"}) {
		t.Errorf("beside the data set: %v", entries)
	}
}

func captionRows(t testing.TB, dir string) [][]string {
	t.Helper()
	f, err := os.Open(filepath.Join(dir, demodata.CaptionsFile))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	return rows[1:]
}

func names(t testing.TB, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

// content reads every file of the folder.
func content(t testing.TB, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		files[name] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestGenerateIsRepeatable(t *testing.T) {
	root := t.TempDir()
	one, many, other := filepath.Join(root, "one"), filepath.Join(root, "many"), filepath.Join(root, "other")
	cpus := runtime.GOMAXPROCS(1)
	generate(t, one, small)
	runtime.GOMAXPROCS(max(cpus, 4))
	generate(t, many, small)
	runtime.GOMAXPROCS(cpus)
	generate(t, other, demodata.Options{Images: small.Images, Seed: small.Seed + 1})

	a, b, c := content(t, one), content(t, many), content(t, other)
	if len(a) != small.Images+6 {
		t.Errorf("%d files, want %d", len(a), small.Images+6)
	}
	for name := range a {
		if a[name] != b[name] {
			t.Errorf("%s differs between one and several CPUs", name)
		}
		if a[name] == c[name] {
			t.Errorf("%s is the same with another seed", name)
		}
	}
}

func TestGenerateInterrupted(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "demo")
	ctx, cancel := context.WithCancel(context.Background())
	err := demodata.Generate(ctx, dir, small, func(done, total int) {
		if done == 10 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("Generate = %v, want context.Canceled", err)
	}
	if left := names(t, root); len(left) != 0 {
		t.Errorf("an interrupted generation left %v", left)
	}
	generate(t, dir, small)
}

func TestGenerateRemovesStaleStages(t *testing.T) {
	root := t.TempDir()
	stage := func(name string) string {
		dir := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Join(dir, "Images"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, ".lock"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	stage(".demo.making-dead")
	lock := flock.New(filepath.Join(stage(".demo.making-busy"), ".lock"))
	if err := lock.Lock(); err != nil {
		t.Fatal(err)
	}
	defer lock.Unlock()
	generate(t, filepath.Join(root, "demo"), demodata.Options{Images: 10})
	if diff := cmp.Diff([]string{".demo.making-busy", "demo"}, names(t, root)); diff != "" {
		t.Errorf("folders left (-want +got):\n%s", diff)
	}
}

func TestGenerateOverSomething(t *testing.T) {
	tests := []struct {
		name    string
		prepare func(t *testing.T, dir string)
		opt     demodata.Options
		want    captioner.Kind
	}{
		{"nothing there", func(*testing.T, string) {}, tiny, ""},
		{"empty folder", func(t *testing.T, dir string) { mkdir(t, dir) }, tiny, ""},
		{"the same data set", func(t *testing.T, dir string) { generate(t, dir, tiny) }, tiny, ""},
		{"another seed", func(t *testing.T, dir string) { generate(t, dir, tiny) },
			demodata.Options{Images: tiny.Images, Seed: 8}, captioner.Conflict},
		{"somebody's files", func(t *testing.T, dir string) { write(t, filepath.Join(dir, "thesis.txt"), "x") }, tiny, captioner.Conflict},
		{"a file", func(t *testing.T, dir string) { write(t, dir, "x") }, tiny, captioner.Invalid},
		{"a picture is missing", func(t *testing.T, dir string) {
			generate(t, dir, tiny)
			remove(t, filepath.Join(dir, "Images", "scene_00003.jpg"))
		}, tiny, captioner.Conflict},
		{"a picture is cut short", func(t *testing.T, dir string) {
			generate(t, dir, tiny)
			write(t, filepath.Join(dir, "Images", "scene_00003.jpg"), "")
		}, tiny, captioner.Conflict},
		{"a changed captions file", func(t *testing.T, dir string) {
			generate(t, dir, tiny)
			write(t, filepath.Join(dir, "captions.txt"), "image,caption\n")
		}, tiny, captioner.Conflict},
		{"too few pictures", func(*testing.T, string) {}, demodata.Options{Images: 3}, captioner.Invalid},
		{"too many pictures", func(*testing.T, string) {}, demodata.Options{Images: 1 << 20}, captioner.Invalid},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "demo")
			tt.prepare(t, dir)
			err := demodata.Generate(context.Background(), dir, tt.opt, nil)
			if got := captioner.KindOf(err); got != tt.want {
				t.Fatalf("Generate = %v, want kind %q", err, tt.want)
			}
			if got := demodata.Complete(dir, tt.opt); got != (tt.want == "") {
				t.Errorf("Complete = %t", got)
			}
		})
	}
}

func TestGenerateKeepsWhatIsComplete(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "demo")
	generate(t, dir, tiny)
	err := demodata.Generate(context.Background(), dir, tiny, func(done, total int) { t.Error("drew a picture again") })
	if err != nil {
		t.Fatal(err)
	}
}

func TestLoadTruthErrors(t *testing.T) {
	dir := t.TempDir()
	if _, err := demodata.LoadTruth(dir); captioner.KindOf(err) != captioner.NotFound {
		t.Errorf("LoadTruth of an empty folder = %v, want not found", err)
	}
	write(t, filepath.Join(dir, demodata.ScenesFile), "{")
	if _, err := demodata.LoadTruth(dir); captioner.KindOf(err) != captioner.Corrupt {
		t.Errorf("LoadTruth of half a file = %v, want corrupt", err)
	}
}

func mkdir(t *testing.T, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, name, text string) {
	t.Helper()
	mkdir(t, filepath.Dir(name))
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, name string) {
	t.Helper()
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
}

func BenchmarkGenerate(b *testing.B) {
	for b.Loop() {
		generate(b, filepath.Join(b.TempDir(), "demo"), demodata.Options{Images: 100})
	}
}
