package dataset_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/ml/dataset"
)

// picture returns a small JPEG that depends on n.
func picture(t testing.TB, n int) []byte {
	t.Helper()
	img := image.NewGray(image.Rect(0, 0, 8+n%7, 8))
	for i := range img.Pix {
		img.Pix[i] = color.Gray{uint8(n*37 + i)}.Y
	}
	var buf bytes.Buffer
	if err := jpeg.Encode(&buf, img, nil); err != nil {
		t.Fatal(err)
	}
	return append(buf.Bytes(), fmt.Sprint(n)...) // bytes after the end do no harm
}

// folder is a data set in the making.
type folder struct {
	t   testing.TB
	dir string
	cfg captioner.DataConfig
}

func newFolder(t testing.TB) *folder {
	t.Helper()
	dir := t.TempDir()
	cfg := captioner.DefaultConfig().Data
	cfg.Images, cfg.Captions = filepath.Join(dir, "Images"), filepath.Join(dir, "captions.txt")
	cfg.MinWordCount = 1
	return &folder{t, dir, cfg}
}

func (f *folder) write(name string, data []byte) {
	f.t.Helper()
	path := filepath.Join(f.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		f.t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		f.t.Fatal(err)
	}
}

// fill writes n pictures with two captions each.
func (f *folder) fill(n int) string {
	f.t.Helper()
	captions := "image,caption\n"
	for i := range n {
		f.write(fmt.Sprintf("Images/%03d.jpg", i), picture(f.t, i))
		captions += fmt.Sprintf("%03d.jpg,A dog number%d .\n%03d.jpg,\"One dog, running .\"\n", i, i, i)
	}
	f.write("captions.txt", []byte(captions))
	return captions
}

func (f *folder) prepare() captioner.Dataset {
	f.t.Helper()
	ds, err := dataset.Prepare(f.t.Context(), f.cfg, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	return ds
}

func TestPrepare(t *testing.T) {
	f := newFolder(t)
	captions := f.fill(20)
	f.write("captions.txt", []byte(captions+
		"000.jpg,One dog running !\n"+ // the same caption but for its punctuation
		"019.jpg,\nno comma\n../Images/001.jpg,a dog\n"))
	calls := 0
	ds, err := dataset.Prepare(t.Context(), f.cfg, func(done, total int) {
		if calls++; done != calls || total != 20 {
			t.Errorf("progress(%d, %d) is call %d", done, total, calls)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if calls != 20 {
		t.Errorf("%d calls of progress, want 20", calls)
	}
	perSplit := map[captioner.Split]int{}
	for i, e := range ds.Examples {
		perSplit[e.Split]++
		want := captioner.Example{
			Image: fmt.Sprintf("%03d.jpg", i), SHA256: captioner.DigestOf(picture(t, i)), Split: e.Split,
			References: []string{fmt.Sprintf("a dog number%d", i), "one dog running"},
		}
		if diff := cmp.Diff(want, e); diff != "" {
			t.Errorf("example %d (-want +got):\n%s", i, diff)
		}
	}
	if want := map[captioner.Split]int{captioner.Train: 12, captioner.Validation: 4, captioner.Test: 4}; !cmp.Equal(perSplit, want) {
		t.Errorf("pictures per split %v, want %v", perSplit, want)
	}
	// "a" and 12 words number… occur in training once per picture or less.
	if want := []string{"<pad>", "<unk>", "startseq", "endseq", "dog", "a", "one", "running"}; !slices.Equal(ds.Vocabulary[:8], want) || len(ds.Vocabulary) != 8+12 {
		t.Errorf("vocabulary %v", ds.Vocabulary)
	}
	if ds.MaxTokens != 5 {
		t.Errorf("MaxTokens = %d, want 5: three words, start and end", ds.MaxTokens)
	}
	want := []left{{44, "", "no_comma"}, {45, "", "invalid_name"}, {42, "000.jpg", "duplicate_caption"}, {43, "019.jpg", "empty_caption"}}
	if diff := cmp.Diff(want, leftOut(ds.Quarantine)); diff != "" {
		t.Errorf("left out (-want +got):\n%s", diff)
	}
}

// The words, the split and the length of the original system: pictures in the
// order of the file, shuffled as Python does; words that occur often enough,
// captions that occur twice counted twice; the longest caption of all splits.
func TestPrepareAsTheOriginal(t *testing.T) {
	f := newFolder(t)
	f.cfg.Vocabulary, f.cfg.SplitMethod, f.cfg.MaxTokensPercentile, f.cfg.MinWordCount = "original", "original", 100, 3
	f.cfg.MinUsable = 0.5
	captions := "image,caption\n"
	for i := 9; i >= 0; i-- { // their names are in another order than the file
		name := fmt.Sprintf("img%d.jpg", i)
		f.write("Images/"+name, picture(t, i))
		captions += name + ",A dog runs .\n"
	}
	captions += "img7.jpg,a rare word\nimg7.jpg,a rare word\n" + // in training
		"img9.jpg,a rare word of the test split that is by far the longest\n" +
		"gone.jpg,a picture that is not there\n"
	f.write("captions.txt", []byte(captions))
	f.write("Images/img0.jpg", nil) // damaged: it has its place in the shuffle
	ds := f.prepare()
	// testdata/preprocess.json of ml/text: of ten pictures the original tests
	// with the first and second of the file, and validates with 4 and 9.
	want := map[string]captioner.Split{
		"img9.jpg": "test", "img8.jpg": "test", "img5.jpg": "validation",
		"img7.jpg": "train", "img6.jpg": "train", "img4.jpg": "train", "img3.jpg": "train", "img2.jpg": "train", "img1.jpg": "train",
	}
	got := map[string]captioner.Split{}
	for _, e := range ds.Examples {
		got[e.Image] = e.Split
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("splits (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"<pad>", "a", "dog", "endseq", "runs", "startseq"}, ds.Vocabulary); diff != "" {
		t.Errorf("vocabulary (-want +got):\n%s", diff)
	}
	if ds.MaxTokens != 15 {
		t.Errorf("MaxTokens = %d, want 15", ds.MaxTokens)
	}
	if e := ds.Examples[6]; len(e.References) != 3 {
		t.Errorf("%s has the references %q, want the doubled one twice", e.Image, e.References)
	}
	f.cfg.MinWordCount = 2
	if ds := f.prepare(); !slices.Contains(ds.Vocabulary, "rare") {
		t.Errorf("vocabulary %v misses a word that is twice in one picture's captions", ds.Vocabulary)
	}
}

// The JSON, whose digest names the data set, does not depend on the folder,
// on the order of the pictures' captions or on chance; the seed changes it.
func TestEqualDataEqualJSON(t *testing.T) {
	marshal := func(f *folder) string {
		data, err := json.Marshal(f.prepare())
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	a := newFolder(t)
	a.fill(12)
	first := marshal(a)
	b := newFolder(t)
	lines := strings.SplitAfter(b.fill(12), "\n")[1:25]
	var reordered []string
	for i := 22; i >= 0; i -= 2 {
		reordered = append(reordered, lines[i], lines[i+1])
	}
	b.write("captions.txt", []byte(strings.Join(reordered, "")))
	b.write("Images/not mentioned.jpg", picture(t, 99))
	if second := marshal(b); second != first {
		t.Errorf("another folder gives another data set:\n%s\n%s", first, second)
	}
	if strings.Contains(first, a.dir) {
		t.Error("the data set holds its path")
	}
	b.cfg.Seed++
	if marshal(b) == first {
		t.Error("another seed gives the same split")
	}
}

func TestPicturesThatCannotBeUsed(t *testing.T) {
	f := newFolder(t)
	captions := f.fill(40)
	f.cfg.MinUsable = 0.5
	f.cfg.MaxPixels = 200
	f.write("Images/000.jpg", nil)
	f.write("Images/001.jpg", picture(t, 1)[:300])
	f.write("Images/002.jpg", []byte("not a picture at all"))
	f.write("Images/003.jpg", bytes.Replace(picture(t, 3), []byte{0xff, 0xc0, 0, 11, 8, 0, 8}, []byte{0xff, 0xc0, 0, 11, 8, 0xff, 0xff}, 1))
	f.write("Images/004.jpg", bytes.Replace(picture(t, 4), []byte{0xff, 0xc0, 0, 11, 8, 0, 8}, []byte{0xff, 0xc0, 0, 11, 8, 0, 0}, 1))
	for _, gone := range []string{"005.jpg", "006.jpg", "007.jpg", "008.jpg"} {
		if err := os.Remove(filepath.Join(f.cfg.Images, gone)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(f.cfg.Images, "006.jpg"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(f.cfg.Images, "007.jpg"), 0o600); err != nil {
		t.Fatal(err)
	}
	f.write("outside.jpg", picture(t, 8))
	if err := os.Symlink("../outside.jpg", filepath.Join(f.cfg.Images, "008.jpg")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("010.jpg", filepath.Join(f.cfg.Images, "link.jpg")); err != nil {
		t.Fatal(err)
	}
	f.write("captions.txt", []byte(captions+"link.jpg,a dog within\nmissing,a line of another file\n"))
	ds := f.prepare()
	want := []left{
		{83, "", "unknown_image"},
		{0, "000.jpg", "empty"}, {0, "001.jpg", "truncated"}, {0, "002.jpg", "unsupported"}, {0, "003.jpg", "too_large"}, {0, "004.jpg", "corrupt"},
		{12, "005.jpg", "unknown_image"}, {13, "005.jpg", "unknown_image"},
		{0, "006.jpg", "unsupported"}, {0, "007.jpg", "unsupported"}, {0, "008.jpg", "unreadable"},
	}
	if diff := cmp.Diff(want, leftOut(ds.Quarantine)); diff != "" {
		t.Errorf("left out (-want +got):\n%s", diff)
	}
	if len(ds.Examples) != 32 || ds.Examples[31].Image != "link.jpg" {
		t.Errorf("%d examples, want 32 with the link within the folder", len(ds.Examples))
	}
	for _, q := range ds.Quarantine {
		if q.Detail == "" || strings.Contains(q.Detail, f.dir) {
			t.Errorf("detail of %s is %q", q.Image, q.Detail)
		}
	}

	f.cfg.MinUsable = 0.95
	_, err := dataset.Prepare(t.Context(), f.cfg, nil)
	if captioner.KindOf(err) != captioner.Invalid || captioner.CodeOf(err) != "unusable_data" {
		t.Fatalf("error %v, want Invalid", err)
	}
	var problems []string
	for _, p := range captioner.ProblemsOf(err) {
		problems = append(problems, p.String())
	}
	wantProblems := []string{
		"data.min_usable: 32 of 41 pictures can be used, 95.0 % are needed",
		"data.images: corrupt: 1 picture, the first is 004.jpg: the picture has no pixels: 12 × 0",
		"data.images: empty: 1 picture, the first is 000.jpg: the picture is empty",
		"data.images: too_large: 1 picture, the first is 003.jpg: the picture has 11 × 65535 pixels, more than the allowed 200",
		"data.images: truncated: 1 picture, the first is 001.jpg: the picture file ends too early",
		"data.images: unknown_image: 1 picture, the first is 005.jpg: there is no such file in the images folder",
		"data.images: unreadable: 1 picture, the first is 008.jpg: the file cannot be read, or is a link that leads out of the images folder",
		"data.images: unsupported: 3 pictures, the first is 002.jpg: the file is not a JPEG, PNG, GIF, BMP or WebP picture",
		"data.captions: unknown_image: 3 lines, the first is line 12: there is no such file in the images folder",
	}
	if diff := cmp.Diff(wantProblems, problems); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

func TestSplitFiles(t *testing.T) {
	f := newFolder(t)
	f.fill(10)
	f.cfg.MinUsable = 0.5
	f.cfg.SplitFiles = captioner.SplitFiles{Train: filepath.Join(f.dir, "train"), Validation: filepath.Join(f.dir, "val"), Test: filepath.Join(f.dir, "test")}
	f.write("train", []byte("\ufeff000.jpg\r\n001.jpg\r\n\r\n002.jpg\r\n000.jpg\r\n"))
	f.write("val", []byte("003.jpg"))
	f.write("test", []byte("004.jpg\n005.jpg\nmissing.jpg\nnocaption.jpg\n"))
	f.write("Images/nocaption.jpg", picture(t, 77))
	ds := f.prepare()
	got := map[string]captioner.Split{}
	for _, e := range ds.Examples {
		got[e.Image] = e.Split
	}
	want := map[string]captioner.Split{"000.jpg": "train", "001.jpg": "train", "002.jpg": "train", "003.jpg": "validation", "004.jpg": "test", "005.jpg": "test"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("splits (-want +got):\n%s", diff)
	}
	wantLeft := []left{
		{0, "006.jpg", "no_split"}, {0, "007.jpg", "no_split"}, {0, "008.jpg", "no_split"}, {0, "009.jpg", "no_split"},
		{0, "missing.jpg", "unknown_image"}, {0, "nocaption.jpg", "no_caption"},
	}
	if diff := cmp.Diff(wantLeft, leftOut(ds.Quarantine)); diff != "" {
		t.Errorf("left out (-want +got):\n%s", diff)
	}
	// 6 of 8: pictures in no split file do not count.
	if err := dataset.CheckUsable(ds, 0.75, nowhere); err != nil {
		t.Errorf("CheckUsable(0.75): %v", err)
	}
	if err := dataset.CheckUsable(ds, 0.76, nowhere); err == nil {
		t.Error("CheckUsable(0.76) is content with 6 of 8")
	}

	f.write("val", []byte("003.jpg\n001.jpg\n../x.jpg\n"))
	f.write("test", nil)
	_, err := dataset.Prepare(t.Context(), f.cfg, nil)
	wantProblems := []captioner.Problem{
		{Field: "data.split_files.validation", Line: 2, Column: 1, Message: "the picture is in the train split too"},
		{Field: "data.split_files.validation", Line: 3, Column: 1, Message: "this is not the name of a file below the images folder"},
		{Field: "data.split_files.test", Line: 1, Column: 1, Message: "the file names no picture"},
	}
	if diff := cmp.Diff(wantProblems, captioner.ProblemsOf(err)); captioner.KindOf(err) != captioner.Invalid || diff != "" {
		t.Errorf("error %v, problems (-want +got):\n%s", err, diff)
	}
}

func TestPrepareErrors(t *testing.T) {
	f := newFolder(t)
	f.fill(10)
	for _, c := range []struct {
		name   string
		change func(*captioner.DataConfig)
		kind   captioner.Kind
	}{
		{"no captions file", func(c *captioner.DataConfig) { c.Captions += "x" }, captioner.NotFound},
		{"no images folder", func(c *captioner.DataConfig) { c.Images += "x" }, captioner.NotFound},
		{"no split file", func(c *captioner.DataConfig) { c.SplitFiles.Train = filepath.Join(f.dir, "none") }, captioner.NotFound},
		{"no frequent word", func(c *captioner.DataConfig) { c.MinWordCount = 1000 }, captioner.Invalid},
		{"images folder elsewhere", func(c *captioner.DataConfig) { c.Images = f.dir }, captioner.Invalid},
		{"the captions file is none", func(c *captioner.DataConfig) { c.Captions = filepath.Join(f.cfg.Images, "000.jpg") }, captioner.Invalid},
	} {
		cfg := f.cfg
		c.change(&cfg)
		_, err := dataset.Prepare(t.Context(), cfg, nil)
		if captioner.KindOf(err) != c.kind {
			t.Errorf("%s: error %v of kind %q, want %q", c.name, err, captioner.KindOf(err), c.kind)
		}
		for _, p := range captioner.ProblemsOf(err) {
			if strings.HasPrefix(p.Field, "data.split_ratios") {
				t.Errorf("%s: says %q, which follows from the rest", c.name, p)
			}
		}
	}
}

// TestEmptySplit: what is said of an empty split is about what decides it.
func TestEmptySplit(t *testing.T) {
	karpathy := func(splits ...string) string {
		var images []string
		for i, split := range splits {
			images = append(images, fmt.Sprintf(`{"filename": "%03d.jpg", "split": %q, "sentences": [{"raw": "a dog"}]}`, i, split))
		}
		return `{"images": [` + strings.Join(images, ", ") + `]}`
	}
	for _, c := range []struct {
		name    string
		prepare func(*folder)
		want    []string
	}{
		{"ratios", func(f *folder) { f.cfg.SplitRatios = captioner.SplitRatios{Train: 0.5, Validation: 0.5} }, []string{"data.split_ratios.test"}},
		{"split files", func(f *folder) {
			f.cfg.SplitFiles = captioner.SplitFiles{Train: filepath.Join(f.dir, "train"), Validation: filepath.Join(f.dir, "val"), Test: filepath.Join(f.dir, "test")}
			f.write("train", []byte("000.jpg\n001.jpg\n"))
			f.write("val", []byte("missing.jpg\n"))
			f.write("test", []byte("002.jpg\n"))
		}, []string{"data.split_files.validation"}},
		{"the captions file", func(f *folder) { f.write("captions.txt", []byte(karpathy("train", "train", "test"))) }, []string{"data.captions"}},
		{"the captions file, two", func(f *folder) { f.write("captions.txt", []byte(karpathy("val", "val"))) }, []string{"data.captions", "data.captions"}},
	} {
		f := newFolder(t)
		f.fill(10)
		f.cfg.MinUsable = 0
		c.prepare(f)
		_, err := dataset.Prepare(t.Context(), f.cfg, nil)
		var got []string
		for _, p := range captioner.ProblemsOf(err) {
			if strings.HasPrefix(p.Message, "no usable picture is in the") {
				got = append(got, p.Field)
			}
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got): %s; %v", c.name, diff, err)
		}
	}
}

// nowhere is the source of splits that are not empty.
func nowhere(captioner.Split) string { return "" }

func TestPrepareStopsWithItsContext(t *testing.T) {
	f := newFolder(t)
	f.fill(50)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := dataset.Prepare(ctx, f.cfg, func(done, _ int) {
		if done == 3 {
			cancel()
		}
		if done > 3 {
			t.Errorf("progress(%d) after the context ended", done)
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
}

func TestDrop(t *testing.T) {
	f := newFolder(t)
	f.fill(20)
	ds := f.prepare()
	before := len(ds.Examples)
	bad := []captioner.Quarantined{{Image: "007.jpg", Reason: "corrupt", Detail: "the picture's data is damaged"}}
	dropped := dataset.Drop(ds, bad)
	if len(ds.Examples) != before || len(ds.Quarantine) != 0 {
		t.Error("Drop changed its argument")
	}
	if len(dropped.Examples) != before-1 || slices.ContainsFunc(dropped.Examples, func(e captioner.Example) bool { return e.Image == "007.jpg" }) {
		t.Error("the picture is still there")
	}
	if diff := cmp.Diff(bad, dropped.Quarantine); diff != "" {
		t.Errorf("quarantine (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(dropped, dataset.Drop(dropped, bad)); diff != "" {
		t.Errorf("dropping twice differs:\n%s", diff)
	}
	if err := dataset.CheckUsable(dropped, 0.95, nowhere); err != nil {
		t.Errorf("19 of 20: %v", err)
	}
	bad = append(bad, captioner.Quarantined{Image: "008.jpg", Reason: "corrupt"})
	if err := dataset.CheckUsable(dataset.Drop(ds, bad), 0.95, nowhere); captioner.KindOf(err) != captioner.Invalid {
		t.Errorf("18 of 20: error %v, want Invalid", err)
	}
}

func TestFingerprint(t *testing.T) {
	f := newFolder(t)
	f.fill(5)
	fingerprint := func() captioner.Digest {
		d, err := dataset.Fingerprint(t.Context(), f.cfg)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	first := fingerprint()
	if again := fingerprint(); again != first {
		t.Error("nothing changed, the fingerprint did")
	}
	f.write("Images/unnamed.jpg", picture(t, 9))
	if fingerprint() != first {
		t.Error("a picture without caption changes the fingerprint")
	}
	// Changed, and then dated back.
	path := filepath.Join(f.cfg.Images, "003.jpg")
	stat, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	f.write("Images/003.jpg", bytes.Repeat([]byte{1}, int(stat.Size())))
	if err := os.Chtimes(path, stat.ModTime(), stat.ModTime()); err != nil {
		t.Fatal(err)
	}
	second := fingerprint()
	if second == first {
		t.Error("a changed picture leaves the fingerprint as it was")
	}
	f.write("captions.txt", []byte("003.jpg,another caption\n"))
	if fingerprint() == second {
		t.Error("changed captions leave the fingerprint as it was")
	}
}

func TestSplitDigest(t *testing.T) {
	f := newFolder(t)
	f.fill(20)
	ds := f.prepare()
	seen := map[captioner.Digest]bool{}
	for _, split := range captioner.Splits {
		d := dataset.SplitDigest(ds, split)
		if !d.Valid() || seen[d] {
			t.Errorf("digest of %s is %q", split, d)
		}
		seen[d] = true
	}
	test := dataset.SplitDigest(ds, captioner.Test)
	changed := ds
	changed.Examples = slices.Clone(ds.Examples)
	for i, e := range changed.Examples {
		if e.Split != captioner.Test {
			changed.Examples[i].References = []string{"another"}
		}
	}
	if dataset.SplitDigest(changed, captioner.Test) != test {
		t.Error("another split's references change the digest")
	}
	changed = dataset.Drop(ds, []captioner.Quarantined{{Image: ds.Examples[slices.IndexFunc(ds.Examples, func(e captioner.Example) bool { return e.Split == captioner.Test })].Image}})
	if dataset.SplitDigest(changed, captioner.Test) == test {
		t.Error("a picture less does not change the digest")
	}
}

func BenchmarkPrepare(b *testing.B) {
	f := newFolder(b)
	f.fill(500)
	for b.Loop() {
		if _, err := dataset.Prepare(b.Context(), f.cfg, nil); err != nil {
			b.Fatal(err)
		}
	}
}
