package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/blob"
)

// files is a small bundle; "a-b" sorts before "a/b" as a path, after it in a walk.
var files = map[string]string{
	"saved_model/saved_model.pb":  strings.Repeat("graph", 1000),
	"saved_model/variables/empty": "",
	"vocabulary.json":             `["<pad>","<unk>"]`,
	"golden/1.jpg":                "jpeg\x00\xff",
	"a/b":                         "ab",
	"a-b":                         "a-b",
	"ä <&> x":                     "odd name",
}

// TestManifestIsPinned guards every version that was ever registered: sums by
// sha256sum, the JSON by hand.
func TestManifestIsPinned(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"b/<1>": "hello\n", "a": ""})
	m, digest, err := StoreTree(t.Context(), newBlobs(t), dir)
	must(t, err)
	data, err := m.Encode()
	must(t, err)
	const want = `{"files":[` +
		`{"path":"a","size":0,"sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},` +
		`{"path":"b/<1>","size":6,"sha256":"5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"}]}`
	if string(data) != want {
		t.Errorf("manifest:\n%s\nwant:\n%s", data, want)
	}
	if digest != captioner.DigestOf([]byte(want)) {
		t.Errorf("digest %s is not the manifest's", digest)
	}
}

func TestRoundTrip(t *testing.T) {
	dir, blobs, cache := t.TempDir(), newBlobs(t), t.TempDir()
	write(t, dir, files)
	must(t, os.Mkdir(filepath.Join(dir, "empty folder"), 0o755))
	m, digest, err := StoreTree(t.Context(), blobs, dir)
	must(t, err)
	if len(m.Files) != len(files) {
		t.Errorf("%d files in the manifest, want %d", len(m.Files), len(files))
	}
	loaded, err := LoadManifest(t.Context(), blobs, digest)
	must(t, err)
	if diff := cmp.Diff(m, loaded); diff != "" {
		t.Errorf("manifest (-stored +loaded):\n%s", diff)
	}
	must(t, VerifyBlobs(t.Context(), blobs, digest))

	out, err := Materialise(t.Context(), blobs, digest, cache)
	must(t, err)
	if out != filepath.Join(cache, string(digest)) {
		t.Errorf("made in %s", out)
	}
	must(t, VerifyDir(out, digest))
	got := read(t, out)
	manifest, err := m.Encode()
	must(t, err)
	want := map[string]string{ManifestName: string(manifest)}
	for name, content := range files {
		want[name] = content
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	for name := range got {
		info, err := os.Stat(filepath.Join(out, name))
		must(t, err)
		if info.Mode().Perm()&0o222 != 0 {
			t.Errorf("%s has mode %v, want it read-only", name, info.Mode())
		}
	}

	// What was made gives the same version again, and says which it is.
	_, again, err := StoreTree(t.Context(), blobs, out)
	must(t, err)
	version, err := Version(out)
	must(t, err)
	if again != digest || version != digest {
		t.Errorf("stored again as %s, version %s; want %s", again, version, digest)
	}
	for name, content := range files {
		f, ok := m.File(name)
		if !ok || f.SHA256 != captioner.DigestOf([]byte(content)) {
			t.Errorf("File(%q) = %v, %v", name, f, ok)
		}
	}
	if _, ok := m.File("saved_model"); ok {
		t.Error("a folder is taken for a file")
	}
}

// TestEqualFilesAreAnEqualVersion varies order, times, permissions and place.
func TestEqualFilesAreAnEqualVersion(t *testing.T) {
	var digests []captioner.Digest
	for i := range 3 {
		dir := t.TempDir()
		names := sortedKeys(files)
		if i == 1 {
			slices.Reverse(names)
		}
		for _, name := range names {
			write(t, dir, map[string]string{name: files[name]})
			path := filepath.Join(dir, name)
			must(t, os.Chtimes(path, time.Time{}, time.Unix(int64(1e9*i), 0)))
			must(t, os.Chmod(path, fs.FileMode(0o600+i*0o111)))
		}
		_, digest, err := StoreTree(t.Context(), newBlobs(t), dir)
		must(t, err)
		digests = append(digests, digest)
	}
	if digests[0] != digests[1] || digests[1] != digests[2] {
		t.Errorf("equal files have versions %v", digests)
	}
}

// TestAnyFlippedByteIsRefused flips a byte at each end and in the middle of
// every file, and every byte of the manifest.
func TestAnyFlippedByteIsRefused(t *testing.T) {
	dir, blobs := t.TempDir(), newBlobs(t)
	write(t, dir, files)
	_, digest, err := StoreTree(t.Context(), blobs, dir)
	must(t, err)
	out, err := Materialise(t.Context(), blobs, digest, t.TempDir())
	must(t, err)

	flips := 0
	for name, content := range read(t, out) {
		positions := []int{0, len(content) / 2, len(content) - 1}
		switch {
		case content == "":
			continue
		case name == ManifestName:
			positions = nil
			for i := range content {
				positions = append(positions, i)
			}
		}
		path := filepath.Join(out, name)
		must(t, os.Chmod(path, 0o644))
		for _, i := range positions {
			damaged := []byte(content)
			damaged[i] ^= 1
			must(t, os.WriteFile(path, damaged, 0o644))
			flips++
			err := VerifyDir(out, digest)
			problems := captioner.ProblemsOf(err)
			if captioner.KindOf(err) != captioner.Corrupt || len(problems) != 1 || problems[0].Field != name {
				t.Errorf("byte %d of %s flipped: %v", i, name, err)
			}
		}
		must(t, os.WriteFile(path, []byte(content), 0o644))
	}
	must(t, VerifyDir(out, digest))
	if flips < 500 {
		t.Errorf("only %d bytes were flipped", flips)
	}
}

// TestAnyFlippedBlobIsRefused flips a byte of every blob of a bundle, the
// manifest's too.
func TestAnyFlippedBlobIsRefused(t *testing.T) {
	dir, blobDir := t.TempDir(), t.TempDir()
	blobs, err := blob.NewDisk(blobDir)
	must(t, err)
	write(t, dir, files)
	m, digest, err := StoreTree(t.Context(), blobs, dir)
	must(t, err)
	for _, f := range append(m.Files, File{Path: ManifestName, Size: 1, SHA256: digest}) {
		if f.Size == 0 {
			continue
		}
		path := filepath.Join(blobDir, string(f.SHA256[:2]), string(f.SHA256))
		content, err := os.ReadFile(path)
		must(t, err)
		damaged := bytes.Clone(content)
		damaged[len(damaged)-1] ^= 0x80
		must(t, os.Chmod(path, 0o644))
		must(t, os.WriteFile(path, damaged, 0o644))

		cache := t.TempDir()
		if _, err := Materialise(t.Context(), blobs, digest, cache); captioner.KindOf(err) != captioner.Corrupt {
			t.Errorf("%s: Materialise = %v", f.Path, err)
		}
		if left := visible(t, cache); len(left) > 0 {
			t.Errorf("%s: %v are left in the cache", f.Path, left)
		}
		if err := VerifyBlobs(t.Context(), blobs, digest); captioner.KindOf(err) != captioner.Corrupt {
			t.Errorf("%s: VerifyBlobs = %v", f.Path, err)
		}
		must(t, os.WriteFile(path, content, 0o644))
	}
	must(t, VerifyBlobs(t.Context(), blobs, digest))
}

func TestVerifyDirListsEverything(t *testing.T) {
	dir, blobs := t.TempDir(), newBlobs(t)
	write(t, dir, files)
	_, digest, err := StoreTree(t.Context(), blobs, dir)
	must(t, err)
	out, err := Materialise(t.Context(), blobs, digest, t.TempDir())
	must(t, err)
	must(t, os.Remove(filepath.Join(out, "a-b")))
	must(t, os.RemoveAll(filepath.Join(out, "golden")))
	must(t, os.Chmod(filepath.Join(out, "vocabulary.json"), 0o644))
	write(t, out, map[string]string{"vocabulary.json": "[]", "saved_model/more": "", "more": "x"})
	must(t, os.Symlink("vocabulary.json", filepath.Join(out, "link")))
	must(t, os.Remove(filepath.Join(out, "a", "b")))
	must(t, os.Symlink(filepath.Join(out, "a-b"), filepath.Join(out, "a", "b")))

	err = VerifyDir(out, digest)
	if captioner.CodeOf(err) != "bundle_damaged" || captioner.KindOf(err) != captioner.Corrupt {
		t.Errorf("%v", err)
	}
	got := map[string][]string{}
	for _, p := range captioner.ProblemsOf(err) {
		got[p.Field] = append(got[p.Field], p.Message)
	}
	want := map[string][]string{
		"a-b":              {"is missing"},
		"golden/1.jpg":     {"is missing"},
		"a/b":              {"is a link or a device, not a file", "is missing"},
		"vocabulary.json":  {"has changed"},
		"saved_model/more": {"is not part of the bundle"},
		"more":             {"is not part of the bundle"},
		"link":             {"is a link or a device, not a file"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}

	must(t, os.Remove(filepath.Join(out, ManifestName)))
	if err := VerifyDir(out, digest); captioner.KindOf(err) != captioner.Corrupt {
		t.Errorf("without its manifest: %v", err)
	}
	if err := VerifyDir(filepath.Join(out, "nowhere"), digest); captioner.KindOf(err) != captioner.NotFound {
		t.Errorf("without the folder: %v", err)
	}
	if err := VerifyDir(filepath.Join(out, "more"), digest); err == nil {
		t.Error("a file was taken for a bundle")
	}
}

func TestVerifyBlobsListsEverything(t *testing.T) {
	dir, blobDir := t.TempDir(), t.TempDir()
	blobs, err := blob.NewDisk(blobDir)
	must(t, err)
	write(t, dir, files)
	m, digest, err := StoreTree(t.Context(), blobs, dir)
	must(t, err)
	for name, damage := range map[string]func(path string) error{
		"a-b":             os.Remove,
		"vocabulary.json": func(path string) error { return os.Truncate(path, 3) },
	} {
		f, _ := m.File(name)
		must(t, damage(filepath.Join(blobDir, string(f.SHA256[:2]), string(f.SHA256))))
	}
	problems := captioner.ProblemsOf(VerifyBlobs(t.Context(), blobs, digest))
	want := []captioner.Problem{{Field: "a-b", Message: "is missing"}, {Field: "vocabulary.json", Message: "has changed"}}
	if diff := cmp.Diff(want, problems); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := VerifyBlobs(t.Context(), blobs, captioner.DigestOf([]byte("never stored"))); captioner.KindOf(err) != captioner.NotFound {
		t.Errorf("without the manifest: %v", err)
	}

	// A manifest that lies about a size.
	lie := store(t, blobs, `{"files":[{"path":"a","size":9,"sha256":"`+string(store(t, blobs, "x"))+`"}]}`)
	if err := VerifyBlobs(t.Context(), blobs, lie); captioner.KindOf(err) != captioner.Corrupt {
		t.Errorf("a wrong size: VerifyBlobs = %v", err)
	}
	if _, err := Materialise(t.Context(), blobs, lie, t.TempDir()); captioner.KindOf(err) != captioner.Corrupt {
		t.Errorf("a wrong size: Materialise = %v", err)
	}
}

// TestDamagedFolderIsMadeAgain: the cache heals, the blobs are the truth.
func TestDamagedFolderIsMadeAgain(t *testing.T) {
	dir, blobs, cache := t.TempDir(), newBlobs(t), t.TempDir()
	write(t, dir, files)
	_, digest, err := StoreTree(t.Context(), blobs, dir)
	must(t, err)
	out, err := Materialise(t.Context(), blobs, digest, cache)
	must(t, err)
	before, err := os.Stat(out)
	must(t, err)
	for name, damage := range map[string]func() error{
		"nothing":         func() error { return nil },
		"a file":          func() error { return os.Remove(filepath.Join(out, "a-b")) },
		"the manifest":    func() error { return os.Truncate(filepath.Join(out, ManifestName), 5) },
		"one file more":   func() error { return os.WriteFile(filepath.Join(out, "saved_model", "x"), nil, 0o644) },
		"all of it":       func() error { return os.RemoveAll(out) },
		"a file instead":  func() error { return errors.Join(os.RemoveAll(out), os.WriteFile(out, nil, 0o644)) },
		"an empty folder": func() error { return errors.Join(os.RemoveAll(out), os.Mkdir(out, 0o755)) },
	} {
		must(t, damage())
		again, err := Materialise(t.Context(), blobs, digest, cache)
		if err != nil || again != out {
			t.Fatalf("%s: %s, %v", name, again, err)
		}
		must(t, VerifyDir(out, digest))
		after, err := os.Stat(out)
		must(t, err)
		if name == "nothing" && !os.SameFile(before, after) {
			t.Error("an undamaged folder was made again")
		}
		if got := visible(t, cache); len(got) != 1 {
			t.Errorf("%s: the cache holds %v", name, got)
		}
		before = after
	}
}

func TestMaterialiseTogether(t *testing.T) {
	dir, blobs, cache := t.TempDir(), newBlobs(t), t.TempDir()
	write(t, dir, files)
	_, digest, err := StoreTree(t.Context(), blobs, dir)
	must(t, err)
	var wg sync.WaitGroup
	for range 12 {
		wg.Go(func() {
			out, err := Materialise(t.Context(), blobs, digest, cache)
			if err == nil {
				err = VerifyDir(out, digest)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := visible(t, cache); len(got) != 1 {
		t.Errorf("the cache holds %v", got)
	}
}

func TestMaterialiseEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	blobs := newBlobs(t)
	if _, err := Materialise(ctx, blobs, captioner.DigestOf(nil), t.TempDir()); !errors.Is(err, context.Canceled) {
		t.Errorf("context ended: %v", err)
	}
	if _, err := Materialise(t.Context(), blobs, captioner.DigestOf(nil), t.TempDir()); captioner.KindOf(err) != captioner.NotFound {
		t.Errorf("no such bundle: %v", err)
	}
	if _, err := Materialise(t.Context(), blobs, "../x", t.TempDir()); captioner.KindOf(err) != captioner.Invalid {
		t.Errorf("no digest: %v", err)
	}
}

func TestAbandonedBuildsAreRemoved(t *testing.T) {
	dir, blobs, cache := t.TempDir(), newBlobs(t), t.TempDir()
	write(t, dir, files)
	_, digest, err := StoreTree(t.Context(), blobs, dir)
	must(t, err)
	busy, left := string(captioner.DigestOf([]byte("busy"))), string(captioner.DigestOf([]byte("left")))
	for _, name := range []string{busy, left, string(digest)} {
		must(t, os.Mkdir(filepath.Join(cache, buildPrefix+name), 0o755))
	}
	lock := lockOf(cache, busy)
	must(t, lock.Lock())
	defer lock.Close()
	_, err = Materialise(t.Context(), blobs, digest, cache)
	must(t, err)
	got, err := filepath.Glob(filepath.Join(cache, buildPrefix+"*"))
	must(t, err)
	if diff := cmp.Diff([]string{filepath.Join(cache, buildPrefix+busy)}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestBadManifestIsRefused stores manifests that no StoreTree makes: nothing is
// written, least of all outside the folder.
func TestBadManifestIsRefused(t *testing.T) {
	blobs := newBlobs(t)
	x := string(store(t, blobs, "x"))
	entry := func(path string) string { return fmt.Sprintf(`{"path":%q,"size":1,"sha256":"%s"}`, path, x) }
	list := func(entries ...string) string { return `{"files":[` + strings.Join(entries, ",") + `]}` }
	for name, manifest := range map[string]string{
		"parent":             list(entry("../evil")),
		"parent inside":      list(entry("a/../../evil")),
		"parent back":        list(entry("a/../b")),
		"absolute":           list(entry("/evil")),
		"dot":                list(entry(".")),
		"empty path":         list(entry("")),
		"empty element":      list(entry("a//b")),
		"trailing slash":     list(entry("a/")),
		"backslash":          list(entry(`..\evil`)),
		"drive":              list(entry(`c:evil`)),
		"null byte":          `{"files":[{"path":"a\u0000","size":1,"sha256":"` + x + `"}]}`,
		"the manifest":       list(entry("manifest.json")),
		"twice":              list(entry("a"), entry("a")),
		"out of order":       list(entry("b"), entry("a")),
		"below a file":       list(entry("a"), entry("a/b")),
		"far below a file":   list(entry("a"), entry("a-b"), entry("a/b/c")),
		"negative size":      `{"files":[{"path":"a","size":-1,"sha256":"` + x + `"}]}`,
		"no digest":          `{"files":[{"path":"a","size":1,"sha256":"x"}]}`,
		"unknown field":      `{"files":[],"more":1}`,
		"unknown file field": `{"files":[{"path":"a","size":1,"sha256":"` + x + `","mode":1}]}`,
		"another case":       `{"Files":[]}`,
		"white space":        `{"files": []}`,
		"new line":           `{"files":[]}` + "\n",
		"no list":            `{"files":null}`,
		"key twice":          `{"files":[],"files":[]}`,
		"trailing bytes":     `{"files":[]}{}`,
		"no JSON":            "files",
		"nothing":            "",
		"another blob":       "a picture",
	} {
		digest := store(t, blobs, manifest)
		parent := t.TempDir()
		cache := filepath.Join(parent, "outer", "cache")
		must(t, os.MkdirAll(cache, 0o755))
		_, err := Materialise(t.Context(), blobs, digest, cache)
		if captioner.KindOf(err) != captioner.Invalid || captioner.CodeOf(err) != "bad_manifest" {
			t.Errorf("%s: Materialise = %v", name, err)
		}
		if err := VerifyBlobs(t.Context(), blobs, digest); captioner.CodeOf(err) != "bad_manifest" {
			t.Errorf("%s: VerifyBlobs = %v", name, err)
		}
		if got := visible(t, cache); len(got) > 0 {
			t.Errorf("%s: %v was written", name, got)
		}
		if got := visible(t, parent); len(got) != 1 {
			t.Errorf("%s: %v lies outside", name, got)
		}
		dir := t.TempDir()
		write(t, dir, map[string]string{ManifestName: manifest})
		if err := VerifyDir(dir, digest); captioner.CodeOf(err) != "bad_manifest" {
			t.Errorf("%s: VerifyDir = %v", name, err)
		}
	}
	if _, err := ParseManifest([]byte(list(entry("a"), entry("a-b"), entry("a.b"), entry("b/c")))); err != nil {
		t.Errorf("a good manifest: %v", err)
	}
}

func TestStoreTreeRefuses(t *testing.T) {
	blobs := newBlobs(t)
	link := t.TempDir()
	write(t, link, map[string]string{"a": "a"})
	must(t, os.Symlink("/etc/hostname", filepath.Join(link, "b")))
	must(t, os.Symlink("nowhere", filepath.Join(link, "c")))
	backslash := t.TempDir()
	write(t, backslash, map[string]string{`a\b`: "a"})
	for name, dir := range map[string]string{"links": link, "nothing": t.TempDir(), "backslash": backslash} {
		_, _, err := StoreTree(t.Context(), blobs, dir)
		if captioner.KindOf(err) != captioner.Invalid || captioner.CodeOf(err) != "bad_bundle" {
			t.Errorf("%s: %v", name, err)
		}
		if name == "links" && len(captioner.ProblemsOf(err)) != 2 {
			t.Errorf("links: %v, want both", captioner.ProblemsOf(err))
		}
	}
	if _, _, err := StoreTree(t.Context(), blobs, filepath.Join(link, "nowhere")); captioner.KindOf(err) != captioner.NotFound {
		t.Errorf("no folder: %v", err)
	}
}

func FuzzParseManifest(f *testing.F) {
	f.Add([]byte(`{"files":[{"path":"a/b","size":0,"sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}]}`))
	f.Add([]byte(`{"files":[]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := ParseManifest(data)
		if err != nil {
			return
		}
		again, err := m.Encode()
		if err != nil || !bytes.Equal(again, data) {
			t.Errorf("%q was accepted and encodes to %q, %v", data, again, err)
		}
		for _, file := range m.Files {
			if !filepath.IsLocal(filepath.FromSlash(file.Path)) {
				t.Errorf("path %q was accepted", file.Path)
			}
		}
	})
}

func newBlobs(t *testing.T) captioner.BlobStore {
	t.Helper()
	d, err := blob.NewDisk(t.TempDir())
	must(t, err)
	return d
}

func store(t *testing.T, blobs captioner.BlobStore, content string) captioner.Digest {
	t.Helper()
	digest, _, err := blobs.Put(t.Context(), strings.NewReader(content))
	must(t, err)
	return digest
}

// write writes files below dir.
func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(dir, name)
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(t, os.WriteFile(path, []byte(content), 0o644))
	}
}

// read returns every file below dir.
func read(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	must(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		content, err := io.ReadAll(f)
		name, _ := filepath.Rel(dir, path)
		files[filepath.ToSlash(name)] = string(content)
		return err
	}))
	return files
}

// visible lists what a folder holds, lock files aside.
func visible(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	var names []string
	for _, entry := range entries {
		if !strings.HasSuffix(entry.Name(), ".lock") {
			names = append(names, entry.Name())
		}
	}
	return names
}

func sortedKeys(m map[string]string) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestSetNoRepeatNGramRefuses(t *testing.T) {
	for name, content := range map[string]string{"no protocol buffer": "graph", "another graph": ""} {
		dir := t.TempDir()
		write(t, dir, map[string]string{"saved_model/saved_model.pb": content})
		if err := SetNoRepeatNGram(dir, 2); captioner.KindOf(err) != captioner.Corrupt {
			t.Errorf("%s: error %v, want a corrupt model", name, err)
		}
	}
	if err := SetNoRepeatNGram(t.TempDir(), 2); captioner.KindOf(err) != captioner.NotFound {
		t.Errorf("no model: error %v, want none found", err)
	}
}
