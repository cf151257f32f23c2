package activities

import (
	"cmp"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/registry"
)

const (
	// keptModels is how many unpacked models a worker keeps. The engine stays
	// warm with a folder from one shard to the next.
	keptModels = 3
	// modelInUse is how recently a folder must have been asked for to be left
	// alone by other processes.
	modelInUse = time.Hour
)

// modelDir is where models are unpacked for the job engine.
func (a *Activities) modelDir() string { return filepath.Join(a.DataDir, "cache", "jobs") }

// withModel unpacks the tree of a model or a bundle, loads it into the engine
// and hands it to use.
func (a *Activities) withModel(ctx context.Context, tree captioner.Digest, use func(captioner.Captioner) error) (err error) {
	folder, err := registry.Materialise(ctx, a.Blobs, tree, a.modelDir())
	if err != nil {
		return err
	}
	if err := a.forgetModels(folder); err != nil {
		logger(ctx).Warn("could not remove old models from the cache", "error", err)
	}
	model, closeModel, err := a.OpenModel(ctx, folder)
	if err != nil {
		return engineFailed(err)
	}
	defer func() { err = errors.Join(err, closeModel()) }()
	return engineFailed(use(model))
}

// forgetModels marks a folder as used now, and removes those that have not been
// used for long, but for the last few.
func (a *Activities) forgetModels(used string) error {
	now := time.Now() // as the file system's, not the activities' clock
	if err := os.Chtimes(used, now, now); err != nil {
		return err
	}
	folders, err := filepath.Glob(filepath.Join(a.modelDir(), "[0-9a-f]*"))
	if err != nil {
		return err
	}
	type folder struct {
		path string
		used time.Time
	}
	var all []folder
	for _, path := range folders {
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			all = append(all, folder{path, info.ModTime()})
		}
	}
	slices.SortFunc(all, func(a, b folder) int { return cmp.Compare(b.used.UnixNano(), a.used.UnixNano()) })
	for _, old := range all[min(keptModels, len(all)):] {
		if now.Sub(old.used) > modelInUse {
			err = errors.Join(err, os.RemoveAll(old.path))
		}
	}
	return err
}
