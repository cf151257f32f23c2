package retention

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/registry"
	"github.com/captioner/captioner/internal/tracking"
	"github.com/captioner/captioner/internal/workspace"
)

// collectFiles deletes what of the data folder's files is not needed.
func (c *collector) collectFiles(s *state) error {
	if err := errors.Join(c.collectCache(s), c.collectRunFiles(s), c.collectAttempts()); err != nil {
		return captioner.Wrap(captioner.Unavailable, err, "clean the data folder")
	}
	return nil
}

// collectCache removes bundles that were unpacked long ago, unless servers load
// them, and those that were never finished.
func (c *collector) collectCache(s *state) error {
	kept := s.undeleted()
	folders, err := filepath.Glob(filepath.Join(c.opts.DataDir, "cache", "*", "*"))
	if err != nil {
		return err
	}
	for _, dir := range folders {
		info, err := os.Stat(dir)
		if err != nil || !info.IsDir() || !info.ModTime().Before(c.cutoff) {
			continue // gone since, a lock, or used of late
		}
		name := filepath.Base(dir)
		remove := os.RemoveAll
		kind := LeftOver
		if !registry.IsUnfinished(name) {
			if !captioner.Digest(name).Valid() || kept[captioner.Digest(name)] && filepath.Base(filepath.Dir(dir)) == "models" {
				continue
			}
			remove, kind = registry.Evict, Cache
		}
		if err := c.removeFiles(kind, dir, remove); err != nil {
			return err
		}
	}
	return nil
}

// collectRunFiles removes the files of runs that have long ended and made no
// version that is kept. Their summaries stay: they are small, and say what became
// of the run.
func (c *collector) collectRunFiles(s *state) error {
	needed := map[string]bool{}
	for _, id := range s.active {
		needed[id] = true
	}
	for _, v := range s.versions {
		if v.DeletedAt == nil {
			needed[v.RunID] = true
		}
	}
	runs := filepath.Join(c.opts.DataDir, "runs")
	for id, r := range s.runs {
		if needed[id] || r.FinishedAt == nil || !r.FinishedAt.Before(c.cutoff) {
			continue
		}
		details, err := tracking.Details(runs, id)
		if err != nil {
			return err
		}
		for _, path := range details {
			if err := c.removeFiles(RunFiles, path, os.RemoveAll); err != nil {
				return err
			}
		}
	}
	return nil
}

// collectAttempts removes the work folders of attempts whose process has died.
func (c *collector) collectAttempts() error {
	return workspace.Abandoned(filepath.Join(c.opts.DataDir, "runs"), func(dir string) error {
		info, err := os.Stat(dir)
		if err != nil || !info.ModTime().Before(c.cutoff) {
			return ignoreGone(err)
		}
		return c.removeFiles(LeftOver, dir, os.RemoveAll)
	})
}

// removeFiles reports a file or folder, and removes it where the options say so.
func (c *collector) removeFiles(kind Kind, path string, remove func(string) error) error {
	size, err := sizeOf(path)
	if err != nil {
		return err
	}
	if c.opts.Delete {
		if err := remove(path); err != nil {
			return err
		}
	}
	name, err := filepath.Rel(c.opts.DataDir, path)
	if err != nil {
		return err
	}
	c.report.add(kind, strings.TrimPrefix(name, "./"), size)
	return nil
}

// sizeOf adds up the sizes of the files at and below path.
func sizeOf(path string) (size int64, err error) {
	err = filepath.WalkDir(path, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return ignoreGone(err)
		}
		info, err := entry.Info()
		if err == nil {
			size += info.Size()
		}
		return ignoreGone(err)
	})
	return size, err
}

func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
