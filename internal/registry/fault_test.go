package registry

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/atomicfile"
	"github.com/captioner/captioner/internal/blob"
	"github.com/captioner/captioner/internal/faultfs"
)

// bundle has a file that takes more than one write, and folders.
var bundle = map[string]string{"saved_model/saved_model.pb": strings.Repeat("graph", 60_000), "a-b": ""}

// TestEveryWriteOfABundleCanFail stores a bundle, files and manifest, while each
// change fails in turn: no version is there before all of it is.
func TestEveryWriteOfABundleCanFail(t *testing.T) {
	source := t.TempDir()
	write(t, source, bundle)
	_, version, err := StoreTree(t.Context(), newBlobs(t), source)
	must(t, err)
	faultfs.Each(t, func(t *testing.T, files atomicfile.FileSystem, dir string) faultfs.Writer {
		blobs, err := blob.NewDisk(dir, blob.WithFileSystem(files))
		must(t, err)
		done := func() error { return VerifyBlobs(t.Context(), blobs, version) }
		return faultfs.Writer{
			Write: func() error { _, _, err := StoreTree(t.Context(), blobs, source); return err },
			Whole: func() error {
				err := done()
				if captioner.KindOf(err) == captioner.NotFound { // there is no manifest, so no version
					return nil
				}
				return err
			},
			Done: done,
		}
	})
}

// TestEveryWriteOfAFolderCanFail unpacks a bundle, also over a damaged folder,
// while each change fails in turn.
func TestEveryWriteOfAFolderCanFail(t *testing.T) {
	source, blobs := t.TempDir(), newBlobs(t)
	write(t, source, bundle)
	_, version, err := StoreTree(t.Context(), blobs, source)
	must(t, err)
	for name, before := range map[string]func(t *testing.T, cache string){
		"new": func(*testing.T, string) {},
		"damaged": func(t *testing.T, cache string) {
			folder, err := Materialise(t.Context(), blobs, version, cache)
			must(t, err)
			must(t, os.Remove(filepath.Join(folder, "a-b")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			faultfs.Each(t, func(t *testing.T, files atomicfile.FileSystem, dir string) faultfs.Writer {
				before(t, dir)
				return faultfs.Writer{
					Write: func() error { _, err := materialise(t.Context(), files, blobs, version, dir); return err },
					Whole: func() error {
						err := VerifyDir(filepath.Join(dir, string(version)), version)
						var e *captioner.Error
						switch {
						case captioner.KindOf(err) == captioner.NotFound,
							name == "damaged" && errors.As(err, &e) && len(e.Problems) == 1 && e.Problems[0].Field == "a-b":
							return nil // as it was, or gone: nobody uses it
						}
						return err
					},
					Done: func() error { return VerifyDir(filepath.Join(dir, string(version)), version) },
				}
			})
		})
	}
}
