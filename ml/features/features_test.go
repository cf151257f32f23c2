package features_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/ml/features"
)

const side = 5

// pixels returns a picture that depends on seed alone.
func pixels(side int, seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	p := make([]byte, side*side*3)
	for i := range p {
		p[i] = byte(r.Uint32())
	}
	return p
}

// writeShard writes n pictures and returns the path.
func writeShard(t testing.TB, n, side int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "shard")
	w, err := features.Create(path, features.Pixels(side))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	for i := range n {
		if err := w.Add(name(i), pixels(side, uint64(i))); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func name(i int) string { return fmt.Sprintf("folder/bild %d ü.jpg", i) }

func TestRoundTrip(t *testing.T) {
	for _, n := range []int{0, 1, 7} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			r, err := features.Open(writeShard(t, n, side))
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			if r.Len() != n || r.Layout() != features.Pixels(side) {
				t.Fatalf("Len, Layout = %d, %v, want %d, %d", r.Len(), r.Layout(), n, side)
			}
			for i := range n {
				if r.Image(i) != name(i) || !bytes.Equal(r.Record(i), pixels(side, uint64(i))) {
					t.Errorf("picture %d is not what was added", i)
				}
			}
			if err := r.Verify(); err != nil {
				t.Errorf("Verify: %v", err)
			}
		})
	}
}

func TestSameInputSameBytes(t *testing.T) {
	a, err := os.ReadFile(writeShard(t, 3, side))
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(writeShard(t, 3, side))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a, b) {
		t.Error("two shards of the same pictures differ")
	}
	// The digest pins the format: a change of it needs a new format version.
	const want = "81352bec47bc907085ee12992199ca571fc8553a2859b1cefa33185e20590a22"
	if got := captioner.DigestOf(a); string(got) != want {
		t.Errorf("digest of the shard = %s, want %s", got, want)
	}
}

// A shard of features comes back with its layout, and the digest pins the format.
func TestFeatures(t *testing.T) {
	for _, layout := range []features.Layout{
		{Type: features.Float16, Height: 2, Width: 3, Channels: 5, Source: "EfficientNetB3 of a digest"},
		{Type: features.Float32, Height: 1, Width: 1, Channels: 2, Source: "ü"},
	} {
		path := filepath.Join(t.TempDir(), "shard")
		w, err := features.Create(path, layout)
		if err != nil {
			t.Fatal(err)
		}
		defer w.Abort()
		records := make([][]byte, 3)
		for i := range records {
			records[i] = bytes.Repeat([]byte{byte(i + 1), 7}, layout.Size()/2)
			if err := w.Add(name(i), records[i]); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Add("short.jpg", records[0][1:]); captioner.KindOf(err) != captioner.Invalid {
			t.Errorf("a short record: error %v, want kind Invalid", err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		r, err := features.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if r.Layout() != layout || r.Len() != len(records) || r.Verify() != nil {
			t.Errorf("%d records of layout %+v, %v; want %d of %+v", r.Len(), r.Layout(), r.Verify(), len(records), layout)
		}
		for i, want := range records {
			if !bytes.Equal(r.Record(i), want) || r.Image(i) != name(i) {
				t.Errorf("record %d is not what was added", i)
			}
		}
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		checkDamage(t, whole)
	}
}

func TestCreateRefuses(t *testing.T) {
	good := features.Layout{Type: features.Float16, Height: 2, Width: 2, Channels: 3, Source: "somewhere"}
	for what, change := range map[string]func(*features.Layout){
		"no source":             func(l *features.Layout) { l.Source = "" },
		"pixels with a source":  func(l *features.Layout) { l.Type = features.Uint8 },
		"pixels of 2 × 4":       func(l *features.Layout) { *l = features.Pixels(2); l.Width = 4 },
		"an unknown type":       func(l *features.Layout) { l.Type = 4 },
		"an axis of 0":          func(l *features.Layout) { l.Channels = 0 },
		"records of gigabytes":  func(l *features.Layout) { l.Height, l.Width = 1<<14, 1<<14 },
		"a source without end":  func(l *features.Layout) { l.Source = string(make([]byte, 1<<16)) },
		"pixels without a side": func(l *features.Layout) { *l = features.Pixels(0) },
	} {
		layout := good
		change(&layout)
		if _, err := features.Create(filepath.Join(t.TempDir(), "s"), layout); captioner.KindOf(err) != captioner.Invalid {
			t.Errorf("%s: error %v, want kind Invalid", what, err)
		}
	}
}

// Every flipped byte and every shorter or longer file is noticed.
func TestDamageIsFound(t *testing.T) {
	whole, err := os.ReadFile(writeShard(t, 2, 3))
	if err != nil {
		t.Fatal(err)
	}
	checkDamage(t, whole)
}

func checkDamage(t *testing.T, whole []byte) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "damaged")
	check := func(what string, data []byte) {
		t.Helper()
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := features.Open(path)
		if err == nil {
			err = r.Verify()
			r.Close()
		}
		if captioner.KindOf(err) != captioner.Corrupt {
			t.Errorf("%s: error %v, want kind Corrupt", what, err)
		}
	}
	for i := range whole {
		flipped := bytes.Clone(whole)
		flipped[i] ^= 0x10
		check(fmt.Sprintf("byte %d of %d flipped", i, len(whole)), flipped)
		check(fmt.Sprintf("cut to %d of %d bytes", i, len(whole)), whole[:i])
	}
	check("one byte more", append(bytes.Clone(whole), 0))
	check("another file", bytes.Repeat([]byte("text "), 100))
}

func TestAddRefuses(t *testing.T) {
	w, err := features.Create(filepath.Join(t.TempDir(), "shard"), features.Pixels(side))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	if err := w.Add("a.jpg", pixels(side, 1)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, image string
		pixels      []byte
	}{
		{"repeated name", "a.jpg", pixels(side, 2)},
		{"empty name", "", pixels(side, 2)},
		{"long name", string(make([]byte, 1<<16)), pixels(side, 2)},
		{"too few pixels", "b.jpg", pixels(side-1, 2)},
		{"too many pixels", "b.jpg", pixels(side+1, 2)},
	} {
		if err := w.Add(c.image, c.pixels); captioner.KindOf(err) != captioner.Invalid {
			t.Errorf("%s: error %v, want kind Invalid", c.name, err)
		}
	}
	if w.Len() != 1 {
		t.Errorf("Len = %d after refused pictures, want 1", w.Len())
	}
}

func TestNothingAppearsBeforeClose(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "shard")
	if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	w, err := features.Create(path, features.Pixels(side))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Add("a.jpg", pixels(side, 1)); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(path); string(got) != "old" {
		t.Errorf("the old file became %q before Close", got)
	}
	w.Abort()
	w.Abort()
	if err := w.Add("b.jpg", pixels(side, 1)); err == nil {
		t.Error("Add after Abort succeeded")
	}
	if err := w.Close(); err == nil {
		t.Error("Close after Abort succeeded")
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 1 || entries[0].Name() != "shard" {
		t.Errorf("Abort left %v, want the old file alone", entries)
	}
}

func TestOpenWithoutFile(t *testing.T) {
	if _, err := features.Open(filepath.Join(t.TempDir(), "none")); captioner.KindOf(err) != captioner.NotFound {
		t.Errorf("error %v, want kind NotFound", err)
	}
	if _, err := features.Create(filepath.Join(t.TempDir(), "none", "s"), features.Pixels(8)); err == nil {
		t.Error("Create in a folder that does not exist succeeded")
	}
}

func FuzzOpen(f *testing.F) {
	whole, err := os.ReadFile(writeShard(f, 2, 2))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add(whole[:80])
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "shard")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := features.Open(path)
		if err != nil {
			return
		}
		defer r.Close()
		for i := range r.Len() {
			_, _ = r.Image(i), r.Record(i)[0]
		}
	})
}

// BenchmarkPixels reads whole batches the way training does: 32 pictures of
// 104×104, copied into one buffer.
func BenchmarkPixels(b *testing.B) {
	const n, side, batch = 512, 104, 32
	r, err := features.Open(writeShard(b, n, side))
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	size := side * side * 3
	buf := make([]byte, batch*size)
	b.SetBytes(int64(len(buf)))
	i := 0
	for b.Loop() {
		for j := range batch {
			copy(buf[j*size:], r.Record((i*31+j*7)%n))
		}
		i++
	}
}

func BenchmarkVerify(b *testing.B) {
	const n, side = 128, 104
	r, err := features.Open(writeShard(b, n, side))
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	b.SetBytes(n * side * side * 3)
	for b.Loop() {
		if err := r.Verify(); err != nil {
			b.Fatal(err)
		}
	}
}
