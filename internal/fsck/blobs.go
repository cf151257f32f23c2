package fsck

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/registry"
)

// maxParsed bounds what is read of a blob to find out whether it is a manifest.
const maxParsed = 16 << 20

// blobs are all that are there.
type blobs struct {
	info      map[captioner.Digest]captioner.BlobInfo
	damaged   []captioner.Digest
	manifests map[captioner.Digest]registry.Manifest
	moves     map[captioner.Digest]captioner.MoveRecord
}

// whole reports whether a blob is there and undamaged.
func (b *blobs) whole(d captioner.Digest) bool {
	_, there := b.info[d]
	return there && !slices.Contains(b.damaged, d)
}

// readBlobs reads every blob to its end.
func (c *checker) readBlobs(ctx context.Context) error {
	b := &blobs{
		info:      map[captioner.Digest]captioner.BlobInfo{},
		manifests: map[captioner.Digest]registry.Manifest{}, moves: map[captioner.Digest]captioner.MoveRecord{},
	}
	c.blobs = b
	err := c.Blobs.List(ctx, func(info captioner.BlobInfo) error {
		b.info[info.Digest] = info
		return nil
	})
	if err != nil {
		return err
	}
	all := make([]captioner.Digest, 0, len(b.info))
	for d := range b.info {
		all = append(all, d)
	}
	slices.SortFunc(all, func(x, y captioner.Digest) int { return cmp.Compare(x, y) })
	for _, d := range all {
		err := c.readBlob(ctx, d)
		switch captioner.KindOf(err) {
		case "":
		case captioner.Corrupt:
			b.damaged = append(b.damaged, d)
		case captioner.NotFound: // deleted since
			delete(b.info, d)
			continue
		default:
			return err
		}
		c.report.Checked[Blob]++
	}
	return nil
}

func (c *checker) readBlob(ctx context.Context, d captioner.Digest) error {
	if c.blobs.info[d].Size > maxParsed {
		r, err := c.Blobs.Open(ctx, d)
		if err != nil {
			return err
		}
		defer r.Close()
		_, err = io.Copy(io.Discard, r) // the last Read says whether it is whole
		return err
	}
	data, err := captioner.ReadBlob(ctx, c.Blobs, d)
	if err != nil {
		return err
	}
	if m, err := registry.ParseManifest(data); err == nil {
		c.blobs.manifests[d] = m
	} else if r, ok := captioner.ParseMoveRecord(data); ok {
		c.blobs.moves[d] = r
	}
	return nil
}

// mendBlobs puts damaged blobs right: from an unpacked bundle that has the same
// file, else by removing what is of no use to anybody.
func (c *checker) mendBlobs(ctx context.Context) error {
	for _, d := range slices.Clone(c.blobs.damaged) {
		p := Problem{Check: Blob, Subject: string(d), Message: "its bytes do not match its digest"}
		if path := c.copyOf(d); path != "" {
			p.Repair = "the file is copied from the unpacked bundle " + path
			if err := c.found(p, func() error { return c.restoreBlob(ctx, d, path) }); err != nil {
				return err
			}
			continue
		}
		p.Repair = "it is removed; the run that needs it makes it again, and a checkpoint has one before it"
		if err := c.found(p, func() error {
			delete(c.blobs.info, d)
			return c.Blobs.Delete(ctx, d)
		}); err != nil {
			return err
		}
	}
	return nil
}

// copyOf returns the path of a file with the bytes of a blob in an unpacked bundle;
// empty for none.
func (c *checker) copyOf(d captioner.Digest) string {
	for _, cache := range caches {
		folders, err := os.ReadDir(filepath.Join(c.DataDir, cache))
		if err != nil {
			continue
		}
		for _, folder := range folders {
			version := captioner.Digest(folder.Name())
			names := []string{}
			if version == d {
				names = append(names, registry.ManifestName)
			}
			for _, f := range c.blobs.manifests[version].Files {
				if f.SHA256 == d {
					names = append(names, f.Path)
				}
			}
			for _, name := range names {
				path := filepath.Join(cache, folder.Name(), filepath.FromSlash(name))
				if digest, err := digestOf(filepath.Join(c.DataDir, path)); err == nil && digest == d {
					return path
				}
			}
		}
	}
	return ""
}

func digestOf(path string) (captioner.Digest, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	digest, _, err := captioner.DigestReader(f)
	return digest, err
}

func (c *checker) restoreBlob(ctx context.Context, d captioner.Digest, path string) error {
	data, err := os.ReadFile(filepath.Join(c.DataDir, path))
	if err != nil {
		return captioner.Wrap(captioner.Unavailable, err, "read the copy of blob %s", d.Short())
	}
	if _, _, err := c.Blobs.Put(ctx, bytes.NewReader(data)); err != nil {
		return err
	}
	c.blobs.damaged = slices.DeleteFunc(c.blobs.damaged, func(x captioner.Digest) bool { return x == d })
	return c.readBlob(ctx, d)
}

// caches are the folders of unpacked bundles.
var caches = []string{filepath.Join("cache", "models"), filepath.Join("cache", "jobs")}

// folders checks the unpacked bundles.
func (c *checker) folders(ctx context.Context) error {
	for _, cache := range caches {
		entries, err := os.ReadDir(filepath.Join(c.DataDir, cache))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return captioner.Wrap(captioner.Unavailable, err, "list the unpacked bundles")
		}
		for _, e := range entries {
			version := captioner.Digest(e.Name())
			if !e.IsDir() || !version.Valid() {
				continue
			}
			c.report.Checked[Folder]++
			dir := filepath.Join(c.DataDir, cache, e.Name())
			err := registry.VerifyDir(dir, version)
			switch captioner.KindOf(err) {
			case "", captioner.NotFound:
				continue
			case captioner.Corrupt, captioner.Invalid:
			default:
				return err
			}
			if err := c.found(Problem{Check: Folder, Subject: filepath.Join(cache, e.Name()), Message: err.Error(),
				Repair: "it is removed, and unpacked again when it is needed"},
				func() error { return registry.Evict(dir) }); err != nil {
				return err
			}
			if err := ctx.Err(); err != nil {
				return err
			}
		}
	}
	return nil
}
