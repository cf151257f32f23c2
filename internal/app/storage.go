package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/backup"
	"github.com/captioner/captioner/internal/blob"
	"github.com/captioner/captioner/internal/deployment"
	"github.com/captioner/captioner/internal/registry"
	"github.com/captioner/captioner/internal/retention"
	"github.com/captioner/captioner/internal/store"
)

// StorageOptions say where records and blobs are.
type StorageOptions struct {
	// DataDir holds cache/ and, without Blobs, blobs/ and, without Database,
	// captioner.db.
	DataDir string
	// Database is the address of the database; empty is DatabaseAddress.
	Database string
	// Blobs is the address of the object store; empty is the folder blobs/.
	Blobs string
	// Logger is told what goes on without harm; nil means the default one.
	Logger *slog.Logger
}

// blobCacheBytes bounds the copies of blobs that are not in use. A training of the
// data sets that people caption with has features of some gigabytes.
const blobCacheBytes = 20 << 30

// Storage is what a run leaves behind: records and blobs.
type Storage struct {
	Store captioner.Store
	Blobs captioner.BlobStore

	dataDir, database string
	closeBlobs        func() error
}

// DatabaseAddress returns the address of the database in a data folder.
func DatabaseAddress(dataDir string) string {
	return "sqlite:" + filepath.Join(dataDir, "captioner.db")
}

func (o Options) storage(logger *slog.Logger) StorageOptions {
	return StorageOptions{DataDir: o.DataDir, Database: o.Database, Blobs: o.Blobs, Logger: logger}
}

func (o StorageOptions) address() string {
	return cmp.Or(o.Database, DatabaseAddress(o.DataDir))
}

// damaged says what to do about a database that is damaged.
func damaged(err error, opts StorageOptions) error {
	if captioner.KindOf(err) != captioner.Corrupt {
		return err
	}
	return &captioner.Error{Kind: captioner.Corrupt, Code: "database_damaged", Err: err, Message: fmt.Sprintf(
		"the database is damaged: end every captioner that uses it and run `captioner fsck --repair --data-dir %s`, with the same --database if there is one, or restore a backup", opts.DataDir)}
}

// OpenStorage opens the database, brought to the newest schema, and the blobs. It
// checks an object store before it touches anything.
func OpenStorage(ctx context.Context, opts StorageOptions) (_ *Storage, err error) {
	s := &Storage{dataDir: opts.DataDir, database: opts.address()}
	if s.Blobs, s.closeBlobs, err = openBlobs(ctx, opts); err != nil {
		return nil, err
	}
	records, err := store.Open(ctx, s.database)
	if err != nil {
		return nil, errors.Join(damaged(err, opts), s.closeBlobs())
	}
	logger := opts.Logger
	if logger == nil {
		logger = slog.Default()
	}
	s.Store = deployment.KeepLog(records, s.Blobs, logger)
	return s, nil
}

// openBlobs opens the folder of blobs, or the object store that is to be used
// instead, and returns what closes it.
func openBlobs(ctx context.Context, opts StorageOptions) (captioner.BlobStore, func() error, error) {
	if opts.Blobs == "" {
		blobs, err := blob.NewDisk(filepath.Join(opts.DataDir, "blobs"))
		return blobs, func() error { return nil }, err
	}
	bucket, err := openBucket(ctx, opts)
	if err != nil {
		return nil, nil, err
	}
	return bucket, bucket.Close, nil
}

// openBucket opens the object store and checks that it can be used.
func openBucket(ctx context.Context, opts StorageOptions) (*blob.Bucket, error) {
	bucket, err := blob.OpenBucket(ctx, opts.Blobs, copiesDir(opts.DataDir), blobCacheBytes)
	if err != nil {
		return nil, err
	}
	if err := bucket.Check(ctx); err != nil {
		return nil, errors.Join(err, bucket.Close())
	}
	return bucket, nil
}

// copiesDir is the folder of copies of an object store's blobs.
func copiesDir(dataDir string) string { return filepath.Join(dataDir, "cache", "blobs") }

// ModelCache is the folder of unpacked bundles, one below it for each version.
func (s *Storage) ModelCache() string { return modelCache(s.dataDir) }

// deployTimeout is how long a person waits for the servers to take a version
// over. An HTTP reply may take twice as long.
const deployTimeout = time.Minute

// Deployer makes versions live by hand.
func (s *Storage) Deployer() *deployment.Deployer {
	return &deployment.Deployer{
		Store: s.Store, Timeout: deployTimeout,
		Verify: func(ctx context.Context, version captioner.Digest) error {
			return registry.VerifyBlobs(ctx, s.Blobs, version)
		},
	}
}

// Retain finds what is not needed any more and, where the options say so, deletes
// it.
func (s *Storage) Retain(ctx context.Context, o retention.Options) (retention.Report, error) {
	target, err := s.Deployer().RollbackTarget(ctx)
	if err != nil {
		return retention.Report{}, err
	}
	o.DataDir, o.RollbackTarget = s.dataDir, target
	return retention.Collect(ctx, s.Store, s.Blobs, o)
}

// Backup copies records, blobs and runs under way to a new folder or tar file.
func (s *Storage) Backup(ctx context.Context, program, path string) (backup.Manifest, error) {
	return backup.Write(ctx, backup.Options{
		DataDir: s.dataDir, Database: s.database, Store: s.Store, Blobs: s.Blobs, Program: program,
	}, path)
}

// Close closes the database and the blobs.
func (s *Storage) Close() error { return errors.Join(s.Store.Close(), s.closeBlobs()) }
