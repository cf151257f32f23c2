package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/atomicfile"
)

// Version returns the digest of the bundle in a folder, as its manifest gives
// it. It says nothing about the other files: VerifyDir does.
func Version(dir string) (captioner.Digest, error) {
	root, err := openFolder(dir)
	if err != nil {
		return "", err
	}
	defer root.Close()
	data, err := readManifest(root)
	if err != nil {
		return "", err
	}
	return captioner.DigestOf(data), nil
}

// VerifyDir checks that a folder holds exactly the bundle with the digest
// want: the manifest, every file that it names, and nothing else (empty folders
// aside). What is missing, changed or extra is listed, all of it, in an error of
// kind Corrupt with code "bundle_damaged". NotFound without the folder.
func VerifyDir(dir string, want captioner.Digest) error {
	root, err := openFolder(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	data, err := readManifest(root)
	if err != nil {
		return err
	}
	if captioner.DigestOf(data) != want {
		return damaged(want, []captioner.Problem{{Field: ManifestName, Message: "has changed: it is not the manifest of this version"}})
	}
	m, err := ParseManifest(data)
	if err != nil {
		return err
	}
	problems, err := compare(root, m)
	if err != nil {
		return err
	}
	return damaged(want, problems)
}

// readManifest reads the manifest of a folder; a missing one is damage.
func readManifest(root *os.Root) ([]byte, error) {
	f, err := root.Open(ManifestName)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, damaged("", []captioner.Problem{{Field: ManifestName, Message: "is missing"}})
	}
	if err != nil {
		return nil, classify(err, "read the manifest")
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxManifest+1))
	if err != nil {
		return nil, classify(err, "read the manifest")
	}
	if len(data) > maxManifest {
		return nil, badManifest(nil, "it is too large")
	}
	return data, nil
}

// compare lists how a folder differs from its manifest.
func compare(root *os.Root, m Manifest) ([]captioner.Problem, error) {
	paths, problems, err := listFiles(root)
	if err != nil {
		return nil, err
	}
	present := map[string]bool{}
	for _, name := range paths {
		present[name] = true
		if _, known := m.File(name); !known {
			problems = append(problems, captioner.Problem{Field: name, Message: "is not part of the bundle"})
		}
	}
	for _, f := range m.Files {
		if !present[f.Path] {
			problems = append(problems, captioner.Problem{Field: f.Path, Message: "is missing"})
			continue
		}
		same, err := matches(root, f)
		if err != nil {
			return nil, err
		}
		if !same {
			problems = append(problems, captioner.Problem{Field: f.Path, Message: "has changed"})
		}
	}
	return problems, nil
}

// matches reports whether a file has the size and bytes that the manifest says.
func matches(root *os.Root, f File) (bool, error) {
	r, err := root.Open(f.Path)
	if err != nil {
		return false, classify(err, "verify %s", f.Path)
	}
	defer r.Close()
	digest, size, err := captioner.DigestReader(r)
	if err != nil {
		return false, classify(err, "verify %s", f.Path)
	}
	return digest == f.SHA256 && size == f.Size, nil
}

// VerifyBlobs reads the manifest with the digest and every blob that it names,
// to the last byte. What is missing or damaged is listed, all of it, in an
// error of kind Corrupt with code "bundle_damaged". NotFound without the
// manifest.
func VerifyBlobs(ctx context.Context, blobs captioner.BlobStore, digest captioner.Digest) error {
	m, err := LoadManifest(ctx, blobs, digest)
	if err != nil {
		return err
	}
	var problems []captioner.Problem
	for _, f := range m.Files {
		size, err := readBlob(ctx, blobs, f.SHA256)
		switch captioner.KindOf(err) {
		case "":
			if size != f.Size {
				problems = append(problems, captioner.Problem{Field: f.Path,
					Message: fmt.Sprintf("has %d bytes where the manifest says %d", size, f.Size)})
			}
		case captioner.NotFound:
			problems = append(problems, captioner.Problem{Field: f.Path, Message: "is missing"})
		case captioner.Corrupt:
			problems = append(problems, captioner.Problem{Field: f.Path, Message: "has changed"})
		default:
			return fmt.Errorf("verify %s: %w", f.Path, err)
		}
	}
	return damaged(digest, problems)
}

// readBlob reads a blob to its end, which verifies it, and returns its size.
func readBlob(ctx context.Context, blobs captioner.BlobStore, digest captioner.Digest) (int64, error) {
	r, err := blobs.Open(ctx, digest)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	return io.Copy(io.Discard, r)
}

// damaged returns the error for the problems of a bundle, nil for none.
func damaged(digest captioner.Digest, problems []captioner.Problem) error {
	if len(problems) == 0 {
		return nil
	}
	message := "the bundle is damaged"
	if digest != "" {
		message = "bundle " + digest.Short() + " is damaged"
	}
	return &captioner.Error{Kind: captioner.Corrupt, Code: "bundle_damaged", Message: message, Problems: problems}
}

// classify gives an error of the file system its kind; what has one keeps it.
func classify(err error, format string, args ...any) error {
	return atomicfile.Classify(err, fmt.Sprintf(format, args...), "", -1)
}
