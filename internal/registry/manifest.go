// Package registry makes model versions out of folders, and folders out of
// model versions. A bundle is a folder of files with a manifest.json that names
// every other one with size and SHA-256; the digest of that manifest is the
// version. Equal files give an equal version, whatever their order, times and
// permissions.
//
// Files live in a blob store, whichever it is; which versions there are, and
// which is live, is kept by package store.
package registry

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/captioner/captioner"
)

// ManifestName is the name of the manifest in a bundle's folder.
const ManifestName = "manifest.json"

// maxManifest bounds what is read as a manifest, in bytes: a hundred thousand
// files and more.
const maxManifest = 16 << 20

// Manifest lists the files of a bundle, sorted by path.
type Manifest struct {
	Files []File `json:"files"`
}

// File is a file of a bundle.
type File struct {
	// Path is relative to the bundle's folder, with slashes.
	Path string `json:"path"`
	// Size is in bytes.
	Size   int64            `json:"size"`
	SHA256 captioner.Digest `json:"sha256"`
}

// Encode returns the canonical JSON, whose digest is the bundle's.
func (m Manifest) Encode() ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if m.Files == nil {
		m.Files = []File{}
	}
	if err := encoder.Encode(m); err != nil {
		return nil, captioner.Wrap(captioner.Internal, err, "encode a manifest")
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// File returns the file of a path, and whether there is one.
func (m Manifest) File(path string) (File, bool) {
	i, found := slices.BinarySearchFunc(m.Files, path, func(f File, path string) int { return cmp.Compare(f.Path, path) })
	if !found {
		return File{}, false
	}
	return m.Files[i], true
}

// ParseManifest reads canonical JSON. Anything else is Invalid, code
// "bad_manifest": unknown fields, paths that leave the folder, files that stand
// twice or in the wrong order.
func ParseManifest(data []byte) (Manifest, error) {
	var m Manifest
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&m); err != nil {
		return Manifest{}, badManifest(err, "it is not the JSON of one")
	}
	seen := map[string]bool{}
	for i, f := range m.Files {
		if why := f.refused(); why != "" {
			return Manifest{}, badManifest(nil, fmt.Sprintf("file %d %s", i+1, why))
		}
		if i > 0 && f.Path <= m.Files[i-1].Path {
			return Manifest{}, badManifest(nil, fmt.Sprintf("file %d is out of order", i+1))
		}
		for dir, _, nested := cutLast(f.Path); nested; dir, _, nested = cutLast(dir) {
			if seen[dir] {
				return Manifest{}, badManifest(nil, fmt.Sprintf("file %d lies below a file", i+1))
			}
		}
		seen[f.Path] = true
	}
	canonical, err := m.Encode()
	if err != nil {
		return Manifest{}, err
	}
	if !bytes.Equal(canonical, data) {
		return Manifest{}, badManifest(nil, "it is not in canonical form")
	}
	return m, nil
}

// refused says why the entry cannot be part of a manifest, "" if it can.
func (f File) refused() string {
	switch {
	case !fs.ValidPath(f.Path), f.Path == ".", strings.ContainsAny(f.Path, "\\\x00:"):
		return "has a path that is not one below a folder"
	case f.Path == ManifestName:
		return "is the manifest itself"
	case f.Size < 0:
		return "has a negative size"
	case !f.SHA256.Valid():
		return "has no SHA-256"
	}
	return ""
}

// cutLast splits a path at its last slash.
func cutLast(path string) (dir, name string, found bool) {
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		return path[:i], path[i+1:], true
	}
	return "", path, false
}

func badManifest(err error, why string) error {
	return &captioner.Error{Kind: captioner.Invalid, Code: "bad_manifest", Message: "this is no manifest of a bundle: " + why, Err: err}
}

// LoadManifest reads the manifest of the bundle with the given digest. NotFound
// when there is none, Corrupt when its bytes have changed.
func LoadManifest(ctx context.Context, blobs captioner.BlobStore, digest captioner.Digest) (Manifest, error) {
	_, m, err := loadManifest(ctx, blobs, digest)
	return m, err
}

// loadManifest is LoadManifest that also returns the bytes.
func loadManifest(ctx context.Context, blobs captioner.BlobStore, digest captioner.Digest) ([]byte, Manifest, error) {
	r, err := blobs.Open(ctx, digest)
	if err != nil {
		return nil, Manifest{}, fmt.Errorf("manifest: %w", err)
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, maxManifest+1))
	if err != nil {
		return nil, Manifest{}, fmt.Errorf("manifest: %w", err)
	}
	if len(data) > maxManifest {
		return nil, Manifest{}, badManifest(nil, "it is too large")
	}
	m, err := ParseManifest(data)
	return data, m, err
}
