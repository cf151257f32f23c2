package activities

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/config"
	"github.com/captioner/captioner/internal/registry"
	"github.com/captioner/captioner/ml/text"
)

// ImportVersion makes a version of a model that the original system has trained:
// a bundle as RegisterVersion makes it, in the registry, without scores. It is
// no step of a run; the command line calls it. pictures are paths of up to
// three pictures that the bundle carries with what the model says about them.
//
// Importing the same files again gives the same version.
func ImportVersion(ctx context.Context, a *Activities, importer captioner.ModelImporter,
	req captioner.ImportRequest, pictures []string,
) (captioner.ModelVersion, error) {
	b := bundle{
		config:     captioner.DefaultConfig(),
		evaluation: captioner.Evaluation{Scores: []captioner.Scores{}, Samples: []captioner.SampleCaption{}},
	}
	var err error
	if b.pictures, err = readGolden(pictures); err != nil {
		return captioner.ModelVersion{}, err
	}
	key, err := captioner.DigestJSON(req)
	if err != nil {
		return captioner.ModelVersion{}, err
	}
	dir, release, err := a.workspace(string(key))
	if err != nil {
		return captioner.ModelVersion{}, err
	}
	defer release()
	if req.OutputDir, err = makeFolder(dir, "output"); err != nil {
		return captioner.ModelVersion{}, err
	}
	result, err := importer.ImportModel(ctx, req)
	if err != nil {
		return captioner.ModelVersion{}, err
	}
	if _, b.model, err = registry.StoreTree(ctx, a.Blobs, req.OutputDir); err != nil {
		return captioner.ModelVersion{}, err
	}

	b.config.Model, b.config.Data.Vocabulary = result.Model, text.Original
	digest, err := config.Digest(b.config)
	if err != nil {
		return captioner.ModelVersion{}, err
	}
	b.lineage = captioner.Lineage{
		Config: digest, TensorFlow: result.Training.TensorFlow, Imported: &result.Imported, ResultVersions: map[string]int{},
	}
	v := captioner.ModelVersion{CreatedAt: a.now(), Evaluation: b.evaluation, Lineage: b.lineage, Training: result.Training}
	if v.Version, err = a.assemble(ctx, string(key), b); err != nil {
		return captioner.ModelVersion{}, err
	}
	return v, a.Store.PutModelVersion(ctx, v)
}

// readGolden reads the pictures that a bundle is to carry.
func readGolden(paths []string) ([]goldenPicture, error) {
	if len(paths) > goldenPictures {
		return nil, captioner.Errorf(captioner.Invalid, "a version carries at most %d pictures, and %d are named", goldenPictures, len(paths))
	}
	var pictures []goldenPicture
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, captioner.Wrap(captioner.Invalid, err, "the picture cannot be read")
		}
		if len(data) > maxGoldenBytes {
			return nil, captioner.Errorf(captioner.Invalid, "%s is larger than %d KB: choose smaller pictures", filepath.Base(path), maxGoldenBytes>>10)
		}
		pictures = append(pictures, goldenPicture{strings.ToLower(filepath.Ext(path)), data})
	}
	return pictures, nil
}
