package hdf5_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/kerastest"
	"github.com/captioner/captioner/ml/hdf5"
)

// expected is what testdata/write.py says about readable.h5.
type expected struct {
	Datasets map[string]expectedDataset
	Texts    map[string][]string
	Numbers  map[string][]float64
}

type expectedDataset struct {
	Shape    []int64
	Floats   []float32
	Integers []int64
}

// h5pyFiles writes files with h5py and returns their folder and what is in
// readable.h5.
func h5pyFiles(t *testing.T) (string, expected) {
	t.Helper()
	dir := t.TempDir()
	var want expected
	if err := json.Unmarshal(kerastest.Run(t, "testdata/write.py", dir), &want); err != nil {
		t.Fatal(err)
	}
	return dir, want
}

func open(t *testing.T, path string) *hdf5.Group {
	t.Helper()
	f, err := hdf5.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	root, err := f.Root()
	if err != nil {
		t.Fatal(err)
	}
	return root
}

func TestH5py(t *testing.T) {
	dir, want := h5pyFiles(t)
	root := open(t, filepath.Join(dir, "readable.h5"))

	got := map[string]expectedDataset{}
	if err := root.Walk(func(d *hdf5.Dataset) error {
		found := expectedDataset{Shape: d.Shape()}
		var err error
		if want.Datasets[d.Path()].Floats != nil {
			found.Floats, err = d.Float32s()
		} else {
			found.Integers, err = d.Int64s()
		}
		got[d.Path()] = found
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want.Datasets, got); diff != "" {
		t.Errorf("data sets (-want +got):\n%s", diff)
	}

	for name, texts := range want.Texts {
		group, attribute := parent(t, root, name)
		if got, err := group.Strings(attribute); err != nil || !cmp.Equal(got, texts) {
			t.Errorf("Strings(%q) = %q, %v, want %q", name, got, err, texts)
		}
	}
	for name, numbers := range want.Numbers {
		group, attribute := parent(t, root, name)
		if got, err := group.Numbers(attribute); err != nil || !cmp.Equal(got, numbers) {
			t.Errorf("Numbers(%q) = %v, %v, want %v", name, got, err, numbers)
		}
	}
}

// parent returns the group of an attribute and its name there.
func parent(t *testing.T, root *hdf5.Group, name string) (*hdf5.Group, string) {
	t.Helper()
	at := strings.LastIndex(name, "/")
	group, err := root.Group(name[:max(0, at)])
	if err != nil {
		t.Fatal(err)
	}
	return group, name[at+1:]
}

func TestH5pyLookups(t *testing.T) {
	dir, _ := h5pyFiles(t)
	root := open(t, filepath.Join(dir, "readable.h5"))
	if diff := cmp.Diff([]string{"a", "kinds", "many"}, root.Names()); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	if d, err := root.Dataset("a/b/c/d"); err != nil || d.Path() != "a/b/c/d" || d.Len() != 1 {
		t.Errorf("Dataset(a/b/c/d) = %v, %v", d, err)
	}
	if got, err := root.Strings("missing"); got != nil || err != nil {
		t.Errorf("a missing attribute gives %v, %v", got, err)
	}
	for name, err := range map[string]error{
		"missing data set":   second(root.Dataset("a/b/x")),
		"missing group":      second(root.Group("nothing")),
		"group as data set":  second(root.Dataset("a/b")),
		"data set as group":  second(root.Group("a/b/c/d")),
		"numbers as text":    second(root.Strings("real")),
		"text as numbers":    second(root.Numbers("fixed")),
		"an enumeration":     second(root.Numbers("flag")),
		"integers as floats": floats(root, "kinds/integeri1"),
	} {
		if kind := captioner.KindOf(err); kind != captioner.Invalid && kind != captioner.NotFound {
			t.Errorf("%s: %v, of kind %s", name, err, kind)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func floats(root *hdf5.Group, name string) error {
	d, err := root.Dataset(name)
	if err != nil {
		return err
	}
	return second(d.Float32s())
}

// What is not read here is refused by its name.
func TestH5pyUnsupported(t *testing.T) {
	dir, _ := h5pyFiles(t)
	for file, want := range map[string]string{
		"chunked.h5":   "chunks",
		"gzip.h5":      "compression",
		"latest.h5":    "superblock version 3",
		"userblock.h5": "not an HDF5 file",
		"symbolic.h5":  "symbolic links",
		"order.h5":     "object headers of version 2",
		"compound.h5":  "compound data",
		"text.h5":      "text, not floating-point numbers",
		"unwritten.h5": "never written",
		"loop.h5":      "two ways",
	} {
		_, err := readAll(filepath.Join(dir, file))
		kind := captioner.Invalid
		if file == "loop.h5" {
			kind = captioner.Corrupt
		}
		if captioner.KindOf(err) != kind || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want one of kind %s with %q", file, err, kind, want)
		}
	}
}

// A file that is cut anywhere is Corrupt, and never a panic.
func TestH5pyCutShort(t *testing.T) {
	dir, _ := h5pyFiles(t)
	whole, err := os.ReadFile(filepath.Join(dir, "readable.h5"))
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{len(whole) - 1, len(whole) / 2, 4096, 97, 50, 9} {
		path := filepath.Join(dir, "cut.h5")
		if err := os.WriteFile(path, whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readAll(path); captioner.KindOf(err) != captioner.Corrupt {
			t.Errorf("cut after %d of %d bytes: %v, of kind %s", n, len(whole), err, captioner.KindOf(err))
		}
	}
}

// readAll reads every data set of a file, and returns how many there are.
func readAll(path string) (int, error) {
	f, err := hdf5.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	root, err := f.Root()
	if err != nil {
		return 0, err
	}
	count := 0
	return count, root.Walk(func(d *hdf5.Dataset) error {
		count++
		return second(d.Float32s())
	})
}
