package config

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/captioner/captioner"
)

// dataFolder makes a data set, and things beside it that are none.
func dataFolder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{
		"Images/a.jpg": "x", "captions.txt": "a.jpg,a dog\n", "train.txt": "a.jpg\n", "val.txt": "b.jpg\n", "glove.txt": "the 0.1 -2 3e-1\n", "test.txt": "c.jpg\n", "void.txt": "",
		"annotations/captions_train2017.json": "{}", "annotations/captions_val2017.json": "{}", "annotations/person_keypoints_val2017.json": "{}",
	} {
		path := filepath.Join(dir, name)
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(t, os.WriteFile(path, []byte(content), 0o644))
	}
	must(t, os.Mkdir(filepath.Join(dir, "void"), 0o755))
	must(t, syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o644))
	return dir
}

func configOf(dir, images, captions string, splits ...string) captioner.Config {
	c := captioner.DefaultConfig()
	c.Data.Images, c.Data.Captions = images, captions
	if len(splits) == 3 {
		c.Data.SplitFiles = captioner.SplitFiles{Train: splits[0], Validation: splits[1], Test: splits[2]}
	}
	return Resolve(c, dir)
}

// glove is a data set with word vectors.
func glove(dir, file string, width int) captioner.Config {
	c := configOf(dir, "Images", "captions.txt")
	c.Data.GloVe, c.Model.EmbeddingDim = filepath.Join(dir, file), width
	return c
}

func TestCheckMachine(t *testing.T) {
	dir := dataFolder(t)
	type problem = captioner.Problem
	tests := []struct {
		name   string
		config captioner.Config
		want   []problem
	}{
		{"demonstration", captioner.DefaultConfig(), nil},
		{"good", configOf(dir, "Images", "captions.txt", "train.txt", "val.txt", "test.txt"), nil},
		{"missing", configOf(dir, "nowhere", "none.txt", "train.txt", "a/b", "test.txt"), []problem{
			{Field: "data.images", Message: "does not exist"},
			{Field: "data.captions", Message: "does not exist"},
			{Field: "data.split_files.validation", Message: "does not exist"}}},
		{"wrong types", configOf(dir, "captions.txt", "Images", "pipe", "pipe", "void"), []problem{
			{Field: "data.images", Message: "is a file where a folder is needed"},
			{Field: "data.captions", Message: "is a folder where a file is needed"},
			{Field: "data.split_files.train", Message: "is neither a file nor a folder"},
			{Field: "data.split_files.validation", Message: "is neither a file nor a folder"},
			{Field: "data.split_files.test", Message: "is a folder where a file is needed"}}},
		{"empty", configOf(dir, "void", "void.txt"), []problem{
			{Field: "data.images", Message: "is an empty folder"},
			{Field: "data.captions", Message: "is an empty file"}}},
		{"COCO's folder", configOf(dir, "Images", "annotations"), nil},
		{"word vectors", glove(dir, "glove.txt", 3), nil},
		{"word vectors of another width", glove(dir, "glove.txt", 0), []problem{
			{Field: "model.embedding_dim", Message: "must be 3, as the vectors of data.glove, is 128"}}},
		{"no word vectors", glove(dir, "captions.txt", 3), []problem{
			{Field: "data.glove", Message: "is no text file of word vectors: its first line is not a word and its numbers"}}},
		{"missing word vectors", glove(dir, "none.txt", 3), []problem{{Field: "data.glove", Message: "does not exist"}}},
		{"below a file", configOf(dir, "captions.txt/x", "captions.txt"), []problem{
			{Field: "data.images", Message: "cannot be read: not a directory"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, CheckMachine(tt.config, "", dir)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// A file that cannot hold weights of Keras is refused before a run begins.
func TestCheckWeights(t *testing.T) {
	dir := dataFolder(t)
	cut := make([]byte, 96) // the superblock of a file of 1,000 bytes, and nothing behind it
	copy(cut, "\x89HDF\r\n\x1a\n")
	cut[13], cut[14] = 8, 8
	binary.LittleEndian.PutUint64(cut[40:], 1000)
	must(t, os.WriteFile(filepath.Join(dir, "cut.h5"), cut, 0o644))
	for path, want := range map[string]string{
		"captions.txt": "are no weights of Keras: this is not an HDF5 file: its first bytes are others",
		"cut.h5":       "are no weights of Keras: the HDF5 file is damaged: it has 96 bytes and should have 1000: it is cut short",
		"none.h5":      "does not exist",
		"Images":       "is a folder where a file is needed",
		"pipe":         "is neither a file nor a folder",
	} {
		c := configOf(dir, "Images", "captions.txt")
		c.Model.Encoder, c.Model.ImageSize, c.Model.Weights = "InceptionV3", 299, filepath.Join(dir, path)
		problems := CheckMachine(c, "", dir)
		if len(problems) != 1 || problems[0] != (captioner.Problem{Field: "model.weights", Message: want}) {
			t.Errorf("%s: %v, want model.weights %s", path, problems, want)
		}
	}
}

// TestParseOn finds what is wrong with the file and with the machine at once.
func TestParseOn(t *testing.T) {
	dir := dataFolder(t)
	here := Machine{Base: dir, WorkDirs: []string{dir}}
	got, err := ParseOn([]byte("data:\n  images: ./Images\n  captions: captions.txt\n"), YAML, here)
	must(t, err)
	if got.Data.Images != filepath.Join(dir, "Images") || got.Data.Captions != filepath.Join(dir, "captions.txt") {
		t.Errorf("%+v", got.Data)
	}

	_, err = ParseOn([]byte(`data:
  images: nowhere
  captions: 5
  split_files: {train: void.txt, validation: ../x, test: test.txt}
  sed: 1
model:
  heads: 5
`), YAML, here)
	want := []captioner.Problem{
		{Field: "data.images", Line: 2, Column: 11, Message: "does not exist"},
		{Field: "data.captions", Line: 3, Column: 13, Message: "must be text, is 5: put it in quotes"},
		{Field: "data.split_files.train", Line: 4, Column: 24, Message: "is an empty file"},
		{Field: "data.split_files.validation", Line: 4, Column: 46, Message: "does not exist"},
		{Field: "data.sed", Line: 5, Column: 3, Message: `is unknown: did you mean "seed"?`},
		{Field: "model.heads", Line: 7, Column: 10, Message: "must divide model.width, and 5 does not divide 128"},
	}
	if diff := cmp.Diff(want, captioner.ProblemsOf(err)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	here.DataRoot = dir
	_, err = ParseOn([]byte(`{"data": {"images": "Images", "captions": "../captions.txt"}}`), JSON, here)
	want = []captioner.Problem{{Field: "data.captions", Line: 1, Column: 43, Message: string(outside)}}
	if diff := cmp.Diff(want, captioner.ProblemsOf(err)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestConfined: with a data root nothing outside of it is looked at, and
// nothing is told about it.
func TestConfined(t *testing.T) {
	outer := dataFolder(t)
	root := filepath.Join(outer, "root")
	must(t, os.Rename(dataFolder(t), root))
	for name, target := range map[string]string{
		"in": "Images", "out": "../Images", "absolute": filepath.Join(outer, "captions.txt"), "back": "../root/captions.txt",
		"gone": "../nowhere", "loop": "loop",
	} {
		must(t, os.Symlink(target, filepath.Join(root, name)))
	}
	link := filepath.Join(outer, "link to root")
	must(t, os.Symlink("root", link))

	tests := []struct {
		name, images, captions string
		want                   []string
	}{
		{"inside", root + "/Images", root + "/captions.txt", []string{"", ""}},
		{"link inside", root + "/in", root + "/captions.txt", []string{"", ""}},
		{"missing inside", root + "/nowhere", root + "/none", []string{"does not exist", "does not exist"}},
		{"type", root + "/captions.txt", root + "/pipe", []string{string(noFolder), string(irregular)}},
		{"outside", outer + "/Images", "/etc/hostname", []string{string(outside), string(outside)}},
		{"outside and missing", outer + "/nowhere", "/nowhere", []string{string(outside), string(outside)}},
		{"dots", root + "/../Images", root + "/Images/../../captions.txt", []string{string(outside), string(outside)}},
		{"a name that begins alike", root + "2", root + "captions.txt", []string{string(outside), string(outside)}},
		{"links outside", root + "/out", root + "/absolute", []string{string(outside), string(outside)}},
		{"link out and back", root + "/Images", root + "/back", []string{"", string(outside)}},
		{"links to nothing", root + "/gone", root + "/loop", []string{string(outside), string(outside)}},
		{"the root itself", root, root + "/captions.txt", []string{"", ""}},
		{"written by the link", link + "/Images", link + "/captions.txt", []string{"", ""}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := configOf("/", tt.images, tt.captions)
			dataRoot := root
			if strings.HasPrefix(tt.images, link) {
				dataRoot = link
			}
			got := map[string]string{}
			for _, p := range CheckMachine(c, dataRoot) {
				got[p.Field] = p.Message
				if strings.Contains(p.Message, outer) {
					t.Errorf("a path is told: %s", p.Message)
				}
			}
			if got["data.images"] != tt.want[0] || got["data.captions"] != tt.want[1] {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	if p := CheckMachine(configOf("/", link+"/Images", root+"/captions.txt"), link); len(p) != 0 {
		t.Errorf("a root that is a link, and both names of it: %v", p)
	}
	if p := CheckMachine(captioner.DefaultConfig(), outer+"/nowhere"); len(p) != 1 {
		t.Errorf("a data root that is missing: %v", p)
	}
}

func TestSpace(t *testing.T) {
	dir := dataFolder(t)
	c := captioner.DefaultConfig()
	if need := spaceNeeded(c, 2500); need != 2*2500*72*72*3+256<<20 {
		t.Errorf("the demonstration needs %d bytes", need)
	}
	var m machine
	m.space(1<<62, []string{filepath.Join(dir, "not", "yet"), dir})
	if len(m.problems) != 1 || !strings.Contains(m.problems[0].Message, "free some space") {
		t.Errorf("%v, want one problem", m.problems)
	}
	m = machine{}
	m.space(1, []string{dir, filepath.Join(dir, "not", "yet")})
	if len(m.problems) != 0 {
		t.Errorf("%v", m.problems)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestCheckProcessor(t *testing.T) {
	c := captioner.DefaultConfig()
	if problems := CheckProcessor(c); problems != nil {
		t.Errorf("float32: %v", problems)
	}
	if problems := checkProcessor(captioner.PrecisionBfloat16, true); problems != nil {
		t.Errorf("bfloat16 on a processor that has it: %v", problems)
	}
	problems := checkProcessor(captioner.PrecisionBfloat16, false)
	if len(problems) != 1 || problems[0].Field != "training.precision" || !strings.Contains(problems[0].Message, "AVX512-BF16") {
		t.Errorf("bfloat16 on another processor: %v", problems)
	}
}
