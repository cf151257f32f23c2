// Package activities holds the steps of a run: what [TrainAndDeploy] in package
// workflows puts in order is done here, one file each.
//
// Steps are of two kinds. Pure ones (PrepareData, ExtractFeatures,
// ExcludeImages, Train, CaptionShard, Evaluate, RegisterVersion) turn digests
// and a part of the configuration into other digests. Their outcome is kept
// under a key made of everything that it depends on, so that a retry or a later
// run with the same inputs finds it done; see step.go. The others
// (ValidateConfig, DecidePromotion, WriteDeploymentManifest, Deploy, RecordRun)
// act on the world: they are always executed and may be executed twice.
//
// What crosses the wire is small. Data sets, shards, checkpoints, models and
// captions lie in the blob store and are named by their digests. Paths travel
// beside them where a step must read the user's files, and are never part of a
// key or of a result.
//
// Errors carry a captioner.Kind; failure.go says which of them are tried again.
// The activities are plain methods: heartbeats, the worker's stop and the
// translation of errors are the business of [Interceptor].
//
// [TrainAndDeploy]: https://pkg.go.dev/github.com/captioner/captioner/workflows
package activities

import (
	"context"
	"path/filepath"
	"time"

	"github.com/captioner/captioner"
)

// ModelOpener loads the model in a folder of this machine into an engine. The
// returned function closes it.
type ModelOpener func(ctx context.Context, dir string) (captioner.Captioner, func() error, error)

// Activities are the steps with all that they need. Fields are set once, before
// the first step runs.
type Activities struct {
	Store captioner.Store
	Blobs captioner.BlobStore

	// Extractor, Trainer and OpenModel are the job engine's. A worker that
	// serves only the queue of the control plane may leave them nil.
	Extractor captioner.FeatureExtractor
	Trainer   captioner.Trainer
	OpenModel ModelOpener

	// DataDir is the state directory: work in progress lies in runs/, and what
	// runs leave for people to read.
	DataDir string
	// DataRoot confines the paths of a configuration; empty allows any.
	DataRoot string
	// Demonstration returns the demonstration data set's place for a
	// configuration that names no data, and makes it first where it is missing.
	Demonstration func(ctx context.Context) (captioner.DataConfig, error)
	// ScoreDemonstration measures captions against the truth about the
	// demonstration pictures. Optional.
	ScoreDemonstration DemonstrationScorer

	// Observer is told what operators count. Optional.
	Observer Observer
	// StallAfter is the shortest time without a step after which a training shows as
	// stalled; 0 means the constant.
	StallAfter time.Duration
	// DeployTimeout bounds the wait for the servers to take a version over;
	// 0 means 2 minutes.
	DeployTimeout time.Duration
	// Now tells the time; nil means time.Now.
	Now func() time.Time
}

// now returns the time in UTC.
func (a *Activities) now() time.Time {
	if a.Now != nil {
		return a.Now().UTC()
	}
	return time.Now().UTC()
}

// runsDir is where steps work and runs leave their files.
func (a *Activities) runsDir() string { return filepath.Join(a.DataDir, "runs") }

// resultVersions are the versions of the pure steps' results. A version is
// raised by hand when a change of the code changes what the step gives for the
// same inputs; results kept under the old version are then no longer found. Where
// only the rounding changes it is not: they are as good, and a training that is
// under way goes on.
var resultVersions = map[string]int{
	StepPrepareData:     1,
	StepExtractFeatures: 2,
	StepExcludeImages:   1,
	StepTrain:           3,
	StepCaptionShard:    1,
	StepEvaluate:        1,
	StepRegisterVersion: 1,
}

// The names of the steps, as the Temporal UI, progress and keys show them.
const (
	StepValidateConfig          = "ValidateConfig"
	StepPrepareData             = "PrepareData"
	StepExtractFeatures         = "ExtractFeatures"
	StepExcludeImages           = "ExcludeImages"
	StepTrain                   = "Train"
	StepCaptionShard            = "CaptionShard"
	StepEvaluate                = "Evaluate"
	StepRegisterVersion         = "RegisterVersion"
	StepDecidePromotion         = "DecidePromotion"
	StepWriteDeploymentManifest = "WriteDeploymentManifest"
	StepDeploy                  = "Deploy"
	StepRecordRun               = "RecordRun"
)
