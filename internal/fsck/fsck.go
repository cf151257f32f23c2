// Package fsck compares all that captioner keeps with what it should be: the
// database with itself, every blob with its digest, bundles with their manifests,
// the rows of versions with their bundles, the deployment log with its records, and
// checkpoints with their blobs. What can be made right from what is left, a repair
// makes right; see [Run].
package fsck

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/store"
)

// settles is how long a bundle may be stored before its version is missed: a run is
// about to register it.
const settles = 10 * time.Minute

// Check names what is compared.
type Check string

// The checks, in their order.
const (
	Database   Check = "database"
	Blob       Check = "blob"
	Bundle     Check = "bundle"
	Version    Check = "version"
	Log        Check = "deployment log"
	Checkpoint Check = "checkpoint"
	Folder     Check = "unpacked bundle"
)

// Problem is something that is not what it should be.
type Problem struct {
	Check Check `json:"check"`
	// Subject is what it is about: a digest, a name, a path below the data folder.
	Subject string `json:"subject"`
	Message string `json:"message"`
	// Repair says what a repair does; empty where it cannot, and then Advice says
	// what a person can.
	Repair   string `json:"repair,omitempty"`
	Advice   string `json:"advice,omitempty"`
	Repaired bool   `json:"repaired"`
}

// Report is the outcome.
type Report struct {
	// Checked counts what was looked at.
	Checked  map[Check]int `json:"checked"`
	Problems []Problem     `json:"problems"`
	// OK says that nothing is wrong, or nothing any more.
	OK bool `json:"ok"`
}

// Options say what is checked.
type Options struct {
	// DataDir holds cache/, Database is the address of the database.
	DataDir, Database string
	Blobs             captioner.BlobStore
	// Repair mends what can be mended. Nobody else may use a SQLite database then.
	Repair bool
	// Now tells the time; nil means time.Now.
	Now func() time.Time
}

// checker is one run.
type checker struct {
	Options
	records *store.Store
	report  Report
	blobs   *blobs
	// salvaged says that the database was made again: whatever it lacks is lost.
	salvaged bool
}

// Run checks everything, and repairs if it is asked to. The error is that of a
// check that could not be made, not what the checks have found.
func Run(ctx context.Context, o Options) (Report, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	c := &checker{Options: o, report: Report{Checked: map[Check]int{}, Problems: []Problem{}}}
	usable, err := c.database(ctx)
	if err != nil {
		return c.report, err
	}
	if err := c.readBlobs(ctx); err != nil {
		return c.report, err
	}
	if usable {
		if c.records, err = store.Open(ctx, o.Database); err != nil {
			return c.report, err
		}
		defer c.records.Close()
		for _, check := range []func(context.Context) error{c.mendBlobs, c.versions, c.logs, c.checkpoints, c.folders} {
			if err := check(ctx); err != nil {
				return c.report, err
			}
		}
	}
	c.report.OK = true
	for _, p := range c.report.Problems {
		c.report.OK = c.report.OK && p.Repaired
	}
	return c.report, nil
}

// found notes a problem, and mends it where that is wanted and possible.
func (c *checker) found(p Problem, repair func() error) error {
	if repair != nil && c.Repair {
		if err := repair(); err != nil {
			return err
		}
		p.Repaired = true
	}
	c.report.Problems = append(c.report.Problems, p)
	return nil
}

// database checks a SQLite file with SQLite's own means, and reports whether it can
// be used.
func (c *checker) database(ctx context.Context) (usable bool, err error) {
	path, ok := store.SQLiteFile(c.Database)
	if !ok { // the server looks after its pages itself
		return true, nil
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return true, nil // an empty one is made
	}
	c.report.Checked[Database]++
	err = store.CheckSQLite(ctx, path)
	if captioner.KindOf(err) != captioner.Corrupt {
		return true, err
	}
	err = c.found(Problem{Check: Database, Subject: filepath.Base(path), Message: err.Error(),
		Repair: "what can be read of it is copied to a new database; the damaged one is kept beside it"},
		func() error {
			_, _, err := store.Salvage(ctx, path)
			c.salvaged = err == nil
			return err
		})
	return c.salvaged, err
}
