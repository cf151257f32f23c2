package dataset_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/ml/dataset"
)

// fixtures are captions files in the layouts in which they are published, with
// words of our own.
var fixtures = []string{
	"captions.txt", "Flickr8k.token.txt", "results.csv", "dataset_flickr8k.json", "dataset_coco.json",
	"captions_train2017.json", "captions_val2017.json",
}

func readFixture(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestFormats(t *testing.T) {
	const train, validation, test = captioner.Train, captioner.Validation, captioner.Test
	for _, c := range []struct {
		file, format string
		want         []dataset.CaptionLine
		images       []string
		splits       map[string]captioner.Split
		left         []left
	}{
		{"captions.txt", "kaggle", []dataset.CaptionLine{
			{2, "1000268201_693b08cb0e.jpg", "A child in a pink coat climbs a set of stairs ."},
			{3, "1000268201_693b08cb0e.jpg", "A girl , in a wooden hut ."},
		}, []string{"1000268201_693b08cb0e.jpg"}, nil, nil},
		{"Flickr8k.token.txt", "token", []dataset.CaptionLine{
			{1, "1000268201_693b08cb0e.jpg", "A child in a red coat climbs the stairs of a hut ."},
			{2, "1000268201_693b08cb0e.jpg", "A girl goes into a wooden hut ."},
			{3, "1001773457_577c3a7d70.jpg", "A black dog and a spotted dog play , fight or both ."},
			{4, "1001773457_577c3a7d70.jpg", `"Two dogs on the road" is what they are .`},
			{5, "2258277193_586949ec62.jpg.1", "people waiting for the bus"},
			{6, "2258277193_586949ec62.jpg.1", "three people at a bus stop"},
			{7, "1002674143_1b742ab4b8.jpg", "A small girl paints on the grass , a rainbow ."},
		}, []string{"1000268201_693b08cb0e.jpg", "1001773457_577c3a7d70.jpg", "2258277193_586949ec62.jpg.1", "1002674143_1b742ab4b8.jpg"}, nil, []left{
			{8, "1002674143_1b742ab4b8.jpg", "empty_caption"},
		}},
		{"results.csv", "results", []dataset.CaptionLine{
			{2, "1000092795.jpg", "Two young men look at their hands in a yard ."},
			{3, "1000092795.jpg", "Two men | friends | stand near a bush ."},
			{4, "2199200615.jpg", "A dog jumps in the yard ."},
			{5, "2199200615.jpg", "A dog runs across the lawn ."}, // the bar is missing
			{6, "10002456.jpg", "Several men in hats work at a wheel ."},
		}, []string{"1000092795.jpg", "2199200615.jpg", "10002456.jpg"}, nil, nil},
		{"dataset_flickr8k.json", "karpathy", []dataset.CaptionLine{
			{1, "2513260012_03d33305cf.jpg", "A black dog runs ."},
			{2, "2513260012_03d33305cf.jpg", "A dog on a beach"},
			{3, "2903617548_d3e38d7f88.jpg", "Two boys play ."},
			{4, "3338291921_fe7ae0c8f8.jpg", "Café at night."},
		}, []string{"2513260012_03d33305cf.jpg", "2903617548_d3e38d7f88.jpg", "3338291921_fe7ae0c8f8.jpg"}, map[string]captioner.Split{
			"2513260012_03d33305cf.jpg": train, "2903617548_d3e38d7f88.jpg": validation, "3338291921_fe7ae0c8f8.jpg": test,
		}, nil},
		{"dataset_coco.json", "karpathy", []dataset.CaptionLine{
			{1, "val2014/COCO_val2014_000000391895.jpg", "A man with a red helmet"},
			{2, "val2014/COCO_val2014_000000391895.jpg", "Man riding."},
			{3, "val2014/COCO_val2014_000000522418.jpg", "A woman with a net on her head"},
			{4, "train2014/COCO_train2014_000000057870.jpg", "A long table"},
			{5, "val2014/COCO_val2014_000000184613.jpg", "A child holds an umbrella"},
		}, []string{"val2014/COCO_val2014_000000391895.jpg", "val2014/COCO_val2014_000000522418.jpg", "train2014/COCO_train2014_000000057870.jpg", "val2014/COCO_val2014_000000184613.jpg"},
			map[string]captioner.Split{
				"val2014/COCO_val2014_000000391895.jpg": test, "val2014/COCO_val2014_000000522418.jpg": train,
				"train2014/COCO_train2014_000000057870.jpg": train, "val2014/COCO_val2014_000000184613.jpg": validation,
			}, nil},
		{"captions_train2017.json", "coco", []dataset.CaptionLine{
			{1, "000000391895.jpg", "A man with a red helmet"},
			{2, "000000522418.jpg", "A woman with a net on her head"},
			{3, "000000391895.jpg", "Man riding."},
		}, []string{"000000391895.jpg", "000000522418.jpg"}, nil, []left{{4, "", "unknown_image"}}},
		{"captions_val2017.json", "coco", []dataset.CaptionLine{
			{1, "000000179765.jpg", "A black motorcycle on a lawn"},
		}, []string{"000000179765.jpg"}, nil, []left{{2, "000000179765.jpg", "empty_caption"}}},
	} {
		data := readFixture(t, c.file)
		for name, r := range map[string]io.Reader{
			c.format: bytes.NewReader(data), "auto": iotest.HalfReader(bytes.NewReader(data)),
			"auto with CRLF": bytes.NewReader(bytes.ReplaceAll(data, []byte("\n"), []byte("\r\n"))),
			"auto with mark": io.MultiReader(strings.NewReader("\ufeff"), bytes.NewReader(data)),
		} {
			format, _, _ := strings.Cut(name, " ")
			t.Run(c.file+" as "+name, func(t *testing.T) {
				got, err := dataset.ReadCaptions(r, format)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(c.want, got.Lines); diff != "" {
					t.Errorf("captions (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(c.images, got.Images); diff != "" {
					t.Errorf("pictures (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(c.splits, got.Splits); diff != "" {
					t.Errorf("splits (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(c.left, leftOut(got.Quarantine)); diff != "" {
					t.Errorf("left out (-want +got):\n%s", diff)
				}
			})
		}
	}
}

// Every file read as every other format is refused by name.
func TestWrongFormat(t *testing.T) {
	titles := map[string]string{
		"captions.txt": "Kaggle's CSV of Flickr8k", "Flickr8k.token.txt": "Flickr8k.token.txt", "results.csv": "results.csv of Flickr30k",
		"dataset_flickr8k.json": "Karpathy's JSON", "captions_train2017.json": "COCO's JSON of captions",
	}
	formats := map[string]string{"captions.txt": "kaggle", "Flickr8k.token.txt": "token", "results.csv": "results", "dataset_flickr8k.json": "karpathy", "captions_train2017.json": "coco"}
	for file, title := range titles {
		for _, format := range dataset.Formats()[1:] {
			if format == formats[file] {
				continue
			}
			_, err := dataset.ReadCaptions(bytes.NewReader(readFixture(t, file)), format)
			want := fmt.Sprintf("this looks like %s, but data.format is %s", title, format)
			if captioner.CodeOf(err) != "invalid_captions" || captioner.KindOf(err) != captioner.Invalid || !strings.Contains(err.Error(), want) {
				t.Errorf("%s as %s: error %v, want %q", file, format, err, want)
			}
			if problems := captioner.ProblemsOf(err); len(problems) != 1 || problems[0].Field != "data.captions" {
				t.Errorf("%s as %s: problems %v", file, format, problems)
			}
		}
	}
}

func TestBrokenFiles(t *testing.T) {
	karpathy, coco := readFixture(t, "dataset_flickr8k.json"), readFixture(t, "captions_train2017.json")
	for _, c := range []struct{ name, format, file, want string }{
		{"Karpathy's cut short", "auto", string(karpathy[:len(karpathy)/2]), "the file ends in the middle"},
		{"COCO's cut short", "auto", string(coco[:len(coco)-100]), "the file ends in the middle"},
		{"cut short in the first picture", "karpathy", string(karpathy[:30]), "the file ends in the middle"},
		{"a comma too many", "auto", strings.Replace(string(karpathy), `}], "split"`, `},], "split"`, 1), "this is not JSON"},
		{"text as Karpathy's", "karpathy", "a dog\n", "this is not JSON"},
		{"a number as Karpathy's", "karpathy", "1", `there is no list "images"`},
		{"a list", "auto", `[{"image": "a.jpg", "caption": "a dog"}]`, "this is JSON, but neither Karpathy's"},
		{"other JSON", "auto", `{"data": {}}`, "this is JSON, but neither Karpathy's"},
		{"no images", "coco", `{"annotations": [{"image_id": 1, "caption": "a"}]}`, `this is not COCO's JSON of captions: there is no list "images"`},
		{"of instances", "auto", `{"images": [{"file_name": "a.jpg", "id": 1}], "annotations": [{"image_id": 1, "segmentation": [[1, 2]], "bbox": [1]}]}`, "the annotations have no caption"},
		{"a name that is a number", "auto", `{"images": [{"filename": 5, "split": "train", "sentences": []}]}`, "this is not Karpathy's JSON"},
		{"a picture in two splits", "auto", strings.Replace(string(karpathy), "2903617548_d3e38d7f88.jpg", "2513260012_03d33305cf.jpg", 1),
			"the captions file contradicts itself"},
	} {
		_, err := dataset.ReadCaptions(strings.NewReader(c.file), c.format)
		if captioner.KindOf(err) != captioner.Invalid || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want an invalid one with %q", c.name, err, c.want)
		}
	}
	broken := errors.New("disk gone")
	_, err := dataset.ReadCaptions(io.MultiReader(bytes.NewReader(coco[:len(coco)/2]), iotest.ErrReader(broken)), "coco")
	if !errors.Is(err, broken) || captioner.KindOf(err) != captioner.Internal {
		t.Errorf("failing reader: error %v, want Internal", err)
	}
}

func TestLinesThatCannotBeUsed(t *testing.T) {
	for _, c := range []struct {
		format, file string
		left         []left
	}{
		{"token", "1.jpg#0\ta\nno tab\n2.jpg\tb\n../x.jpg#0\ta\n3.jpg#0\t!!\n", []left{{2, "", "no_tab"}, {4, "", "invalid_name"}, {5, "3.jpg", "no_words"}}},
		{"results", "image_name| comment_number| comment\n1.jpg| 0| a\nno bar\n1.jpg|words only\n/a.jpg|0|b\n2.jpg| 1|\n",
			[]left{{3, "", "no_bar"}, {4, "", "no_bar"}, {5, "", "invalid_name"}, {6, "2.jpg", "empty_caption"}}},
		{"karpathy", `{"images": [{"filename": "a.jpg", "split": "dev", "sentences": [{"raw": "a"}]}, {"filename": "../b.jpg", "split": "train", "sentences": [{"raw": "a"}, {"raw": ""}]}]}`,
			[]left{{1, "a.jpg", "unknown_split"}, {2, "", "invalid_name"}, {3, "", "invalid_name"}}},
	} {
		got, err := dataset.ReadCaptions(strings.NewReader(c.file), c.format)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.left, leftOut(got.Quarantine)); diff != "" {
			t.Errorf("%s: left out (-want +got):\n%s", c.format, diff)
		}
	}
}

// The splits of the file are taken, and split files may repeat them only.
func TestSplitsOfTheFile(t *testing.T) {
	f := newFolder(t)
	f.write("captions.txt", readFixture(t, "dataset_flickr8k.json"))
	names := []string{"2513260012_03d33305cf.jpg", "2903617548_d3e38d7f88.jpg", "3338291921_fe7ae0c8f8.jpg"}
	for i, name := range names {
		f.write("Images/"+name, picture(t, i))
	}
	splits := func(ds captioner.Dataset) (all []captioner.Split) {
		for _, e := range ds.Examples {
			all = append(all, e.Split)
		}
		return all
	}
	want := []captioner.Split{captioner.Train, captioner.Validation, captioner.Test}
	if got := splits(f.prepare()); !slices.Equal(got, want) {
		t.Errorf("splits %v, want %v", got, want)
	}
	first, err := dataset.Fingerprint(t.Context(), f.cfg)
	if err != nil {
		t.Fatal(err)
	}

	f.cfg.SplitFiles = captioner.SplitFiles{Train: filepath.Join(f.dir, "train"), Validation: filepath.Join(f.dir, "val"), Test: filepath.Join(f.dir, "test")}
	for i, name := range []string{"train", "val", "test"} {
		f.write(name, []byte(names[i]))
	}
	if got := splits(f.prepare()); !slices.Equal(got, want) {
		t.Errorf("with split files: splits %v, want %v", got, want)
	}
	if second, err := dataset.Fingerprint(t.Context(), f.cfg); err != nil || second == first {
		t.Errorf("split files leave the fingerprint as it was, error %v", err)
	}
	f.write("val", []byte(names[2]+"\n"))
	f.write("test", []byte("other.jpg\n"+names[1]+"\n"))
	_, err = dataset.Prepare(t.Context(), f.cfg, nil)
	problems := []captioner.Problem{
		{Field: "data.split_files.validation", Line: 1, Column: 1, Message: "the captions file puts the picture into the test split"},
		{Field: "data.split_files.test", Line: 2, Column: 1, Message: "the captions file puts the picture into the validation split"},
	}
	if diff := cmp.Diff(problems, captioner.ProblemsOf(err)); captioner.CodeOf(err) != "invalid_split" || diff != "" {
		t.Errorf("error %v, problems (-want +got):\n%s", err, diff)
	}
}

// COCO's folder: val is for testing, train is divided.
func TestCOCOFolder(t *testing.T) {
	f := newFolder(t)
	f.cfg.Captions = filepath.Join(f.dir, "annotations")
	f.cfg.SplitRatios = captioner.SplitRatios{Train: 0.4, Validation: 0.3, Test: 0.3}
	type image struct {
		ID   int    `json:"id"`
		Name string `json:"file_name"`
	}
	type annotation struct {
		Image   int    `json:"image_id"`
		Caption string `json:"caption"`
	}
	write := func(part string, first, n int) {
		var file struct {
			Images      []image      `json:"images"`
			Annotations []annotation `json:"annotations"`
		}
		for i := first; i < first+n; i++ {
			name := fmt.Sprintf("%012d.jpg", i)
			file.Images = append(file.Images, image{i, name})
			file.Annotations = append(file.Annotations, annotation{i, "A dog runs"}, annotation{i, ""})
			f.write("Images/"+part+"/"+name, picture(t, i))
		}
		data, err := json.Marshal(file)
		if err != nil {
			t.Fatal(err)
		}
		f.write("annotations/captions_"+part+".json", data)
	}
	write("train2017", 0, 7)
	write("val2017", 7, 5)
	f.write("annotations/instances_val2017.json", []byte("{}"))
	ds := f.prepare()
	count := map[string]int{}
	for _, e := range ds.Examples {
		folder, _, _ := strings.Cut(e.Image, "/")
		count[folder+" "+string(e.Split)]++
	}
	want := map[string]int{"train2017 train": 4, "train2017 validation": 3, "val2017 test": 5}
	if diff := cmp.Diff(want, count); diff != "" {
		t.Errorf("pictures (-want +got):\n%s", diff)
	}
	if last := ds.Quarantine[len(ds.Quarantine)-1]; last.Line != 24 || last.Image != "val2017/000000000011.jpg" {
		t.Errorf("the last caption left out is %+v", last)
	}
	f.cfg.Format = "karpathy"
	if _, err := dataset.Prepare(t.Context(), f.cfg, nil); captioner.CodeOf(err) != "invalid_captions" {
		t.Errorf("a folder as Karpathy's: error %v", err)
	}
	f.cfg.Format = "auto"
	if err := os.Remove(filepath.Join(f.cfg.Captions, "captions_val2017.json")); err != nil {
		t.Fatal(err)
	}
	if _, err := dataset.Prepare(t.Context(), f.cfg, nil); captioner.CodeOf(err) != "invalid_captions" {
		t.Errorf("without val: error %v", err)
	}
	f.write("secret.json", []byte("{}"))
	if err := os.Symlink("../secret.json", filepath.Join(f.cfg.Captions, "captions_val2017.json")); err != nil {
		t.Fatal(err)
	}
	if _, err := dataset.Prepare(t.Context(), f.cfg, nil); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a link out of the folder: error %v", err)
	}
}

// What is not captions passes through in little memory, however much it is.
func TestLargeJSON(t *testing.T) {
	const size = 8 << 20
	more := func(head, element, tail string) io.Reader {
		return io.MultiReader(strings.NewReader(head), io.LimitReader(&repeated{text: element}, size/int64(len(element))*int64(len(element))), strings.NewReader(tail))
	}
	segmentation := `{"segmentation": [[1.5, 2.5, {"a": [null, "]}"]}]], "iscrowd": 0}, `
	for name, r := range map[string]io.Reader{
		"coco":     more(`{"images": [{"file_name": "a.jpg", "id": 1}], "info": [`, segmentation, `{}], "annotations": [{"image_id": 1, "caption": "a dog"}]}`),
		"karpathy": more(`{"categories": [`, segmentation, `{}], "images": [{"filename": "a.jpg", "split": "train", "sentences": [{"raw": "a dog"}]}]}`),
	} {
		before := liveHeap()
		w := &watched{r: r}
		got, err := dataset.ReadCaptions(w, name)
		if err != nil || len(got.Lines) != 1 {
			t.Fatalf("%s: %+v, error %v", name, got, err)
		}
		if grown := w.peak - before; w.peak == 0 || grown > 1<<20 {
			t.Errorf("%s: the heap grew by %d bytes over a file of %d", name, grown, size)
		}
	}
}

// repeated is a text over and over.
type repeated struct {
	text string
	at   int
}

func (r *repeated) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = r.text[r.at]
		r.at = (r.at + 1) % len(r.text)
	}
	return len(p), nil
}

// watched notes the largest heap while it is read, at each megabyte.
type watched struct {
	r    io.Reader
	read int
	peak int64
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	if before := w.read; before>>20 != (before+n)>>20 {
		w.peak = max(w.peak, liveHeap())
	}
	w.read += n
	return n, err
}

// liveHeap returns the bytes on the heap that are in use.
func liveHeap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func BenchmarkFormats(b *testing.B) {
	for format, file := range map[string]string{
		"token":    strings.Repeat("1000268201_693b08cb0e.jpg#0\tA child in a pink dress is climbing up a set of stairs in an entry way .\n", 10_000),
		"karpathy": `{"images": [` + strings.Repeat(`{"sentids": [0], "imgid": 0, "sentences": [{"tokens": ["a", "black", "dog"], "raw": "A black dog runs on a beach .", "imgid": 0, "sentid": 0}], "split": "train", "filename": "2513260012_03d33305cf.jpg"}, `, 10_000) + `{"split": "train", "filename": "2513260012_03d33305cf.jpg", "sentences": []}]}`,
	} {
		b.Run(format, func(b *testing.B) {
			b.SetBytes(int64(len(file)))
			for b.Loop() {
				if _, err := dataset.ReadCaptions(strings.NewReader(file), "auto"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
