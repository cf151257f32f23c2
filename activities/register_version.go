package activities

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"path"
	"path/filepath"
	"strings"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/config"
	"github.com/captioner/captioner/internal/registry"
)

const (
	// The files of a bundle beside what training writes.
	modelFile      = "model.json"
	configFile     = "config.yaml"
	evaluationFile = "evaluation.json"
	lineageFile    = "lineage.json"
	goldenDir      = "golden"
	goldenFile     = "golden.json"

	// goldenPictures is how many pictures a bundle carries with the answers
	// that it must give; maxGoldenBytes is how large each may be.
	goldenPictures = 3
	maxGoldenBytes = 1 << 20
	// goldenDecimals is how exactly a log-probability is written: well within
	// the 1e-3 to which it is checked, and coarse enough to be the same again.
	goldenDecimals = 1e4
)

// RegisterVersionInput is all that a version is made of.
type RegisterVersionInput struct {
	RunID      string                `json:"run_id"`
	Model      captioner.Digest      `json:"model"`
	Training   captioner.TrainResult `json:"training"`
	Evaluation captioner.Evaluation  `json:"evaluation"`
	Dataset    captioner.Digest      `json:"dataset"`
	Config     captioner.Config      `json:"config"`
	// ConfigDigest is that of the configuration without paths.
	ConfigDigest captioner.Digest `json:"config_digest"`
	// Weights is the digest of the encoder's weights; empty without any.
	Weights captioner.Digest `json:"weights,omitempty"`
	// Continues is TrainInput's.
	Continues captioner.Digest `json:"continues,omitempty"`
	// WordVectors is the digest of the file that the words' vectors started with;
	// empty without one.
	WordVectors captioner.Digest `json:"word_vectors,omitempty"`
	// ResultVersions are those of the steps that made the version.
	ResultVersions map[string]int `json:"result_versions"`
}

// RegisterVersionResult is the version.
type RegisterVersionResult struct {
	Provenance
	Version captioner.Digest `json:"version"`
}

// golden is an entry of golden.json: a picture and what greedy search must
// answer.
type golden struct {
	File           string  `json:"file"`
	Tokens         []int32 `json:"tokens"`
	LogProbability float64 `json:"log_probability"`
}

// RegisterVersion assembles the bundle, stores it, and adds the version to the
// registry. The bundle holds no time, path, address or run ID: equal inputs
// give an equal version. The registry's row links the version to its run.
func (a *Activities) RegisterVersion(ctx context.Context, in RegisterVersionInput) (RegisterVersionResult, error) {
	lineage := lineageOf(in)
	out, err := step[RegisterVersionResult, *RegisterVersionResult]{
		Name: StepRegisterVersion,
		Inputs: struct {
			Model      captioner.Digest     `json:"model"`
			Evaluation captioner.Evaluation `json:"evaluation"`
			Lineage    captioner.Lineage    `json:"lineage"`
			Config     captioner.Config     `json:"config"`
		}{in.Model, in.Evaluation, lineage, bundleConfig(in.Config)},
		Present: func(ctx context.Context, out RegisterVersionResult) (bool, error) {
			return a.treePresent(ctx, out.Version)
		},
		Compute: func(ctx context.Context, key string) (RegisterVersionResult, error) {
			pictures, err := a.goldenPictures(ctx, in)
			if err != nil {
				return RegisterVersionResult{}, err
			}
			version, err := a.assemble(ctx, key, bundle{in.Model, in.Config, in.Evaluation, lineage, pictures})
			return RegisterVersionResult{Version: version}, err
		},
	}.run(ctx, a)
	if err != nil {
		return RegisterVersionResult{}, err
	}
	// Also where the bundle was found: a row that is there stays as it is.
	return out, a.Store.PutModelVersion(ctx, captioner.ModelVersion{
		Version: out.Version, RunID: in.RunID, CreatedAt: a.now(),
		Evaluation: in.Evaluation, Lineage: lineage, Training: in.Training,
	})
}

func lineageOf(in RegisterVersionInput) captioner.Lineage {
	lineage := captioner.Lineage{
		Dataset: in.Dataset, Config: in.ConfigDigest, Weights: in.Weights, WordVectors: in.WordVectors, ResultVersions: in.ResultVersions,
		TensorFlow: in.Training.TensorFlow, Threads: in.Training.Threads, Continues: in.Continues,
	}
	lineage.Seeds.Data = in.Config.Data.Seed
	lineage.Seeds.Training = in.Config.Training.Seed
	return lineage
}

// bundleConfig is the configuration as a bundle holds it: portable, and with the
// defaults of what changes no result, so that neither makes another version.
func bundleConfig(cfg captioner.Config) captioner.Config {
	cfg = config.Portable(cfg)
	defaults := captioner.DefaultConfig()
	cfg.Data.ShardSize = defaults.Data.ShardSize
	cfg.Training.CheckpointInterval = defaults.Training.CheckpointInterval
	return cfg
}

// bundle is what a bundle is made of.
type bundle struct {
	model      captioner.Digest // the tree that training, or an import, wrote
	config     captioner.Config
	evaluation captioner.Evaluation
	lineage    captioner.Lineage
	pictures   []goldenPicture
}

// goldenPicture is a picture that a bundle carries, and the ending of its name.
type goldenPicture struct {
	ending string
	data   []byte
}

// assemble builds the bundle's folder and stores it.
func (a *Activities) assemble(ctx context.Context, key string, b bundle) (captioner.Digest, error) {
	dir, release, err := a.workspace(key)
	if err != nil {
		return "", err
	}
	defer release()
	folder, err := registry.Materialise(ctx, a.Blobs, b.model, dir)
	if err != nil {
		return "", err
	}
	if order := b.config.Evaluation.NoRepeatNGram; order != captioner.DefaultConfig().Evaluation.NoRepeatNGram {
		if err := registry.SetNoRepeatNGram(folder, order); err != nil {
			return "", err
		}
	}
	if err := writeFile(filepath.Join(folder, configFile), config.Marshal(bundleConfig(b.config))); err != nil {
		return "", err
	}
	if err := writeJSON(filepath.Join(folder, evaluationFile), b.evaluation); err != nil {
		return "", err
	}
	if err := writeJSON(filepath.Join(folder, lineageFile), b.lineage); err != nil {
		return "", err
	}
	if err := a.writeGolden(ctx, folder, b); err != nil {
		return "", err
	}
	_, version, err := registry.StoreTree(ctx, a.Blobs, folder)
	return version, err
}

// goldenPictures returns the first test pictures that are not too large.
func (a *Activities) goldenPictures(ctx context.Context, in RegisterVersionInput) ([]goldenPicture, error) {
	ds, err := a.loadDataset(ctx, in.Dataset)
	if err != nil {
		return nil, err
	}
	var pictures []goldenPicture
	for _, e := range testExamples(ds) {
		if len(pictures) == goldenPictures {
			break
		}
		data, err := readPicture(in.Config.Data.Images, picture{e.Image, e.SHA256})
		if err != nil {
			return nil, err
		}
		if len(data) <= maxGoldenBytes {
			pictures = append(pictures, goldenPicture{strings.ToLower(path.Ext(e.Image)), data})
		}
	}
	return pictures, nil
}

// writeGolden adds pictures and what the model says about them.
func (a *Activities) writeGolden(ctx context.Context, folder string, b bundle) error {
	var entries []golden
	var inputs []captioner.ImageInput
	for i, p := range b.pictures {
		name := fmt.Sprintf("%d%s", i+1, p.ending)
		if err := writeFile(filepath.Join(folder, goldenDir, name), p.data); err != nil {
			return err
		}
		entries = append(entries, golden{File: name})
		inputs = append(inputs, captioner.ImageInput{Data: p.data})
	}
	if len(entries) > 0 {
		if err := a.answerGolden(ctx, b.model, b.config.Evaluation, inputs, entries); err != nil {
			return err
		}
	}
	return writeJSON(filepath.Join(folder, goldenDir, goldenFile), entries)
}

// answerGolden fills in what greedy search answers.
func (a *Activities) answerGolden(ctx context.Context, model captioner.Digest, cfg captioner.EvaluationConfig,
	inputs []captioner.ImageInput, entries []golden,
) error {
	return a.withModel(ctx, model, func(model captioner.Captioner) error {
		best, err := captionBatchOf(ctx, model, cfg, "greedy", inputs)
		if err != nil {
			return err
		}
		for i, h := range best {
			entries[i].Tokens = h.Tokens
			entries[i].LogProbability = math.Round(h.LogProbability*goldenDecimals) / goldenDecimals
		}
		return nil
	})
}

// writeJSON writes v, indented, for a bundle or for people.
func writeJSON(path string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return captioner.Wrap(captioner.Internal, err, "encode %s", filepath.Base(path))
	}
	return writeFile(path, append(data, '\n'))
}
