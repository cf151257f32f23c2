package activities_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/activities"
	"github.com/captioner/captioner/activities/activitiestest"
)

// A file of word vectors is read once as long as it stays what it is, wherever it
// lies, and is part of the keys of what depends on it.
func TestWordVectors(t *testing.T) {
	f := activitiestest.New(t)
	dir := t.TempDir()
	write := func(name, content string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	prepare := func(glove string) (activities.PrepareDataResult, error) {
		data := f.Config().Data
		data.GloVe = glove
		return f.Activities.PrepareData(t.Context(), activities.PrepareDataInput{Data: data})
	}
	without, err := prepare("")
	if err != nil || without.WordVectors != nil {
		t.Fatalf("without a file: %+v, %v", without.WordVectors, err)
	}
	const content = "a 1 2 3\nnobodysays 4 5 6\n"
	first, err := prepare(write("glove.txt", content))
	if err != nil {
		t.Fatal(err)
	}
	v := first.WordVectors
	if v == nil || v.Found != 1 || v.Words < 2 || v.Source != captioner.DigestOf([]byte(content)) {
		t.Fatalf("word vectors %+v", v)
	}
	if first.Key == without.Key || first.Dataset != without.Dataset {
		t.Errorf("with vectors the key is %s and the data set %s, without %s and %s", first.Key, first.Dataset, without.Key, without.Dataset)
	}
	moved, err := prepare(write("moved.txt", content))
	if err != nil || !moved.Cached || *moved.WordVectors != *v {
		t.Errorf("the same file in another place: %+v, %v", moved, err)
	}
	other, err := prepare(write("glove.txt", "a 1 2 4\n"))
	if err != nil || other.Cached || other.WordVectors.Vectors == v.Vectors {
		t.Errorf("another file: %+v, %v", other, err)
	}

	key := func(vectors captioner.Digest) string {
		key, err := activities.TrainKey(activities.TrainInput{Config: f.Config(), WordVectors: vectors})
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	if key("") == key(v.Vectors) || key(v.Vectors) == key(other.WordVectors.Vectors) {
		t.Error("trainings with other vectors have the same key")
	}

	_, err = prepare(write("broken.txt", "a 1 2 3\ncut 4 5"))
	var e *captioner.Error
	if !errors.As(err, &e) || e.Code != "broken_vectors" || len(e.Problems) != 1 || e.Problems[0].Line != 2 {
		t.Errorf("a file cut short: %v", err)
	}
}
