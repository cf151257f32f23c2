package app

import (
	"context"
	"errors"
	"path/filepath"
	"strings"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/blob"
	"github.com/captioner/captioner/internal/registry"
)

// bundleFolder returns the folder of the bundle to serve alone: the one that is
// named, or that of a version in an object store, s3://BUCKET?region=REGION#VERSION,
// which it downloads below dataDir unless it is there.
func bundleFolder(ctx context.Context, bundle, dataDir string) (dir string, err error) {
	address, version, named := strings.Cut(bundle, "#")
	if !strings.HasPrefix(bundle, "s3://") {
		return bundle, nil
	}
	if !named || !captioner.Digest(version).Valid() {
		return "", captioner.Errorf(captioner.Invalid,
			"--bundle must end with the version in the object store, s3://BUCKET?region=REGION#VERSION, all 64 digits of it: `captioner models list --json` prints them")
	}
	bucket, err := blob.OpenBucket(ctx, address, copiesDir(dataDir), blobCacheBytes)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, bucket.Close()) }()
	if err := bucket.CheckReading(ctx); err != nil {
		return "", err
	}
	dir, err = registry.Materialise(ctx, bucket, captioner.Digest(version), modelCache(dataDir))
	if captioner.KindOf(err) == captioner.NotFound {
		return "", captioner.Wrap(captioner.NotFound, err, "the object store does not have version %s, or not all of it", captioner.Digest(version).Short())
	}
	return dir, err
}

// modelCache is the folder of unpacked bundles, one below it for each version.
func modelCache(dataDir string) string { return filepath.Join(dataDir, "cache", "models") }
