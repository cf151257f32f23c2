package activities

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/config"
)

// ValidateConfigInput is the configuration as it was given.
type ValidateConfigInput struct {
	// Config is a JSON object that names what differs from the defaults. Empty
	// and null mean an empty object.
	Config json.RawMessage `json:"config"`
	// RunID is the run to record; empty records none.
	RunID string `json:"run_id,omitempty"`
	// Actor started the run.
	Actor string `json:"actor,omitempty"`
	// Resume is the run whose training this one goes on from; Config names what
	// differs from its configuration then. Empty begins from the seed.
	Resume string `json:"resume,omitempty"`
	// DryRun only checks: no demonstration data set is made.
	DryRun bool `json:"dry_run,omitempty"`
}

// ValidateConfigResult is the configuration as the run uses it.
type ValidateConfigResult struct {
	Config captioner.Config `json:"config"`
	// Digest is that of the configuration without paths and without what
	// changes no result.
	Digest captioner.Digest `json:"digest"`
	// Continues is the checkpoint that training goes on from, empty for none.
	Continues captioner.Digest `json:"continues,omitempty"`
	// ResultVersions are those of the pure steps on this worker.
	ResultVersions map[string]int `json:"result_versions"`
	// Weights is the blob of the file of the encoder's weights; empty without one.
	Weights captioner.Digest `json:"weights,omitempty"`
	// Warnings are sentences about what can be run and is likely not meant.
	Warnings []string `json:"warnings,omitempty"`
}

// ValidateConfig fills in the defaults and checks everything that can be
// checked before the work begins, where the data is: all problems come back at
// once, in one Invalid error. A configuration that names no data gets the
// demonstration data set. The run is recorded in the store, and the encoder's
// weights are kept as a blob, so that the steps find them on any machine.
func (a *Activities) ValidateConfig(ctx context.Context, in ValidateConfigInput) (ValidateConfigResult, error) {
	if in.Resume != "" {
		return a.validateResumed(ctx, in)
	}
	cfg, err := config.Parse(in.Config, config.JSON)
	if err != nil {
		return ValidateConfigResult{}, a.withMachineProblems(in.Config, err)
	}
	demonstration := cfg.Data.Images == "" && cfg.Data.Captions == ""
	dataRoot := a.DataRoot
	if demonstration {
		if cfg.Data, err = a.demonstrationData(ctx, cfg.Data, in.DryRun); err != nil {
			return ValidateConfigResult{}, err
		}
		dataRoot = "" // the program's own data, wherever users' data must lie
	}
	return a.accept(ctx, in, cfg, dataRoot)
}

// accept checks a configuration against this machine and records the run.
func (a *Activities) accept(ctx context.Context, in ValidateConfigInput, cfg captioner.Config, dataRoot string) (ValidateConfigResult, error) {
	problems := config.CheckMachine(cfg, dataRoot, a.DataDir)
	if a.Trainer != nil {
		problems = append(problems, config.CheckProcessor(cfg)...)
	}
	if err := config.Error(problems); err != nil {
		return ValidateConfigResult{}, err
	}
	digest, err := config.Digest(cfg)
	if err != nil {
		return ValidateConfigResult{}, err
	}

	if in.RunID != "" {
		if err := a.recordStart(ctx, in.RunID, in.Actor, cfg); err != nil {
			return ValidateConfigResult{}, err
		}
	}
	out := ValidateConfigResult{Config: cfg, Digest: digest, ResultVersions: maps.Clone(resultVersions), Warnings: warnings(cfg)}
	if cfg.Model.Weights != "" && !in.DryRun {
		if out.Weights, err = a.putFile(ctx, cfg.Model.Weights); err == nil {
			err = a.noteUse(ctx, string(out.Weights))
		}
	}
	return out, err
}

// warnings says what of a configuration is likely not meant.
func warnings(cfg captioner.Config) []string {
	if captioner.PretrainedShape(cfg.Model.Encoder).Side == 0 || cfg.Model.Weights != "" {
		return nil
	}
	return []string{fmt.Sprintf("%s was trained from random weights: without those that Keras publishes, in model.weights, its scores will be poor", cfg.Model.Encoder)}
}

// validateResumed is ValidateConfig for a run that goes on from another. A
// training of the same configuration is the other's own, with its checkpoint;
// one of another configuration begins with that checkpoint.
func (a *Activities) validateResumed(ctx context.Context, in ValidateConfigInput) (ValidateConfigResult, error) {
	record, err := a.Store.RunRecord(ctx, in.Resume)
	if captioner.KindOf(err) == captioner.NotFound {
		return ValidateConfigResult{}, captioner.Errorf(captioner.Invalid, "there is no run %q to go on from", in.Resume)
	}
	if err != nil {
		return ValidateConfigResult{}, err
	}
	before, cfg, err := config.Continue(record.Config, in.Config)
	if err != nil {
		return ValidateConfigResult{}, err
	}
	// The other run's data was allowed when it began.
	out, err := a.accept(ctx, in, cfg, "")
	if err != nil || cfg.Training == before.Training {
		return out, err
	}
	if record.Progress != nil && record.Progress.RunKey != "" {
		// Noted twice: the row stays for the key, the blob outlives a newer row.
		if err := a.noteUse(ctx, record.Progress.RunKey); err != nil {
			return out, err
		}
		_, checkpoint, _, err := a.resumePoint(ctx, record.Progress.RunKey)
		if err != nil {
			return out, err
		}
		if checkpoint.Blob != "" {
			out.Continues = checkpoint.Blob
			return out, a.noteUse(ctx, string(checkpoint.Blob))
		}
	}
	return out, captioner.Errorf(captioner.Invalid, "run %s has left no checkpoint to go on from", in.Resume)
}

// withMachineProblems adds to the error of a configuration that cannot be read
// what this machine has to say about the part that can, so that nobody has to
// correct it twice.
func (a *Activities) withMachineProblems(raw json.RawMessage, err error) error {
	cfg := captioner.DefaultConfig()
	_ = json.Unmarshal(raw, &cfg) // goes on after a wrong type, and err says what is wrong
	problems := config.CheckMachine(cfg, a.DataRoot, a.DataDir)
	if len(problems) == 0 || captioner.KindOf(err) != captioner.Invalid {
		return err
	}
	return config.Error(append(captioner.ProblemsOf(err), problems...))
}

// demonstrationData returns data with the demonstration's places filled in, and
// makes the pictures where they are missing; not for a dry run.
func (a *Activities) demonstrationData(ctx context.Context, data captioner.DataConfig, dryRun bool) (captioner.DataConfig, error) {
	if a.Demonstration == nil {
		return data, config.Error([]captioner.Problem{
			{Field: "data.images", Message: "name the folder of pictures: this worker has no demonstration data set"},
			{Field: "data.captions", Message: "name the captions file"},
		})
	}
	if dryRun {
		return data, nil
	}
	places, err := a.Demonstration(ctx)
	if err != nil {
		return data, err
	}
	data.Images, data.Captions, data.SplitFiles = places.Images, places.Captions, places.SplitFiles
	return data, nil
}

// recordStart records the run. One that the API has recorded stays as it is.
func (a *Activities) recordStart(ctx context.Context, runID, actor string, cfg captioner.Config) error {
	normalised, err := json.Marshal(cfg)
	if err != nil {
		return captioner.Wrap(captioner.Internal, err, "encode the configuration")
	}
	_, _, err = a.Store.PutRun(ctx, captioner.RunRecord{
		ID: runID, Config: normalised, CreatedAt: a.now(), Actor: actor, State: captioner.RunRunning,
	})
	return err
}
