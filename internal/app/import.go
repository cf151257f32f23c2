package app

import (
	"context"
	"errors"
	"log/slog"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/activities"
	"github.com/captioner/captioner/internal/engine"
)

// ImportOptions say what is imported and by which engine.
type ImportOptions struct {
	captioner.ImportRequest
	// Pictures are paths of pictures that the version carries with its captions.
	Pictures []string
	// EngineBinary is the path of captioner-engine; empty looks for it.
	EngineBinary string
	Logger       *slog.Logger
}

// Import makes a version of a model that the original system has trained, and
// adds it to the registry.
func (s *Storage) Import(ctx context.Context, o ImportOptions) (v captioner.ModelVersion, err error) {
	binary, err := findEngine(o.EngineBinary)
	if err != nil {
		return captioner.ModelVersion{}, err
	}
	jobs := engine.NewJobs(engine.Options{Binary: binary, Logger: o.Logger.With("process", "job engine")})
	defer func() { err = errors.Join(err, jobs.Close()) }()
	a := &activities.Activities{Store: s.Store, Blobs: s.Blobs, OpenModel: jobs.OpenModel, DataDir: s.dataDir}
	return activities.ImportVersion(ctx, a, jobs, o.ImportRequest, o.Pictures)
}
