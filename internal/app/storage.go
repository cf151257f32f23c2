package app

import (
	"context"
	"path/filepath"
	"time"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/blob"
	"github.com/captioner/captioner/internal/deployment"
	"github.com/captioner/captioner/internal/registry"
	"github.com/captioner/captioner/internal/store"
)

// StorageOptions say where records and blobs are.
type StorageOptions struct {
	// DataDir holds blobs/, cache/ and, without Database, captioner.db.
	DataDir string
	// Database is the address of the database; empty is DatabaseAddress.
	Database string
}

// Storage is what a run leaves behind: records and blobs.
type Storage struct {
	Store captioner.Store
	Blobs captioner.BlobStore

	dataDir string
}

// DatabaseAddress returns the address of the database in a data folder.
func DatabaseAddress(dataDir string) string {
	return "sqlite:" + filepath.Join(dataDir, "captioner.db")
}

// OpenStorage opens the database, brought to the newest schema, and the blobs.
func OpenStorage(ctx context.Context, opts StorageOptions) (*Storage, error) {
	address := opts.Database
	if address == "" {
		address = DatabaseAddress(opts.DataDir)
	}
	blobs, err := blob.NewDisk(filepath.Join(opts.DataDir, "blobs"))
	if err != nil {
		return nil, err
	}
	records, err := store.Open(ctx, address)
	if err != nil {
		return nil, err
	}
	return &Storage{Store: records, Blobs: blobs, dataDir: opts.DataDir}, nil
}

// ModelCache is the folder of unpacked bundles, one below it for each version.
func (s *Storage) ModelCache() string { return filepath.Join(s.dataDir, "cache", "models") }

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

// Close closes the database.
func (s *Storage) Close() error { return s.Store.Close() }
