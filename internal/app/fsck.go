package app

import (
	"context"
	"errors"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/fsck"
	"github.com/captioner/captioner/internal/store"
)

// Fsck checks records and blobs, and repairs if it is asked to. A repair of a
// SQLite database is refused while a local mode works in the data folder.
func Fsck(ctx context.Context, opts StorageOptions, repair bool) (report fsck.Report, err error) {
	_, local := store.SQLiteFile(opts.address())
	if repair && local {
		lock, err := lockData(opts.DataDir)
		if err != nil {
			return report, err
		}
		defer func() {
			if unlockErr := lock.Unlock(); err == nil && unlockErr != nil {
				err = captioner.Wrap(captioner.Unavailable, unlockErr, "unlock the data folder")
			}
		}()
	}
	blobs, closeBlobs, err := openBlobs(ctx, opts)
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, closeBlobs()) }()
	return fsck.Run(ctx, fsck.Options{DataDir: opts.DataDir, Database: opts.address(), Blobs: blobs, Repair: repair})
}
