package activities

import (
	"context"
	"errors"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/registry"
)

// withModel unpacks the tree of a model or a bundle below the work folder dir,
// loads it into the engine and hands it to use.
func (a *Activities) withModel(ctx context.Context, dir string, tree captioner.Digest, use func(captioner.Captioner) error) error {
	folder, err := registry.Materialise(ctx, a.Blobs, tree, dir)
	if err != nil {
		return err
	}
	return a.withFolder(ctx, folder, use)
}

// withFolder loads the model in a folder into the engine and hands it to use.
func (a *Activities) withFolder(ctx context.Context, folder string, use func(captioner.Captioner) error) (err error) {
	model, closeModel, err := a.OpenModel(ctx, folder)
	if err != nil {
		return engineFailed(err)
	}
	defer func() { err = errors.Join(err, closeModel()) }()
	return engineFailed(use(model))
}
