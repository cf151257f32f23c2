package activities

import (
	"bytes"
	"context"
	"encoding/json"
	"path/filepath"
	"time"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/deploy"
	"github.com/captioner/captioner/internal/failpoint"
	"github.com/captioner/captioner/internal/tracking"
)

// WriteDeploymentManifestInput is what a deployment stands for.
type WriteDeploymentManifestInput struct {
	RunID      string               `json:"run_id"`
	Version    captioner.Digest     `json:"version"`
	Dataset    captioner.Digest     `json:"dataset"`
	Config     captioner.Digest     `json:"config"`
	Evaluation captioner.Evaluation `json:"evaluation"`
	Decision   captioner.Decision   `json:"decision"`
	// Quarantined is PreparedData's.
	Quarantined int `json:"quarantined,omitempty"`
}

// WriteDeploymentManifestResult names the blobs of the files.
type WriteDeploymentManifestResult struct {
	// Deployment is deployment.json.
	Deployment captioner.Digest `json:"deployment"`
	// Files are the rendered deploy files, by path; none for a version that
	// does not go live.
	Files map[string]captioner.Digest `json:"files,omitempty"`
}

// Deployment is the content of deployment.json: which version, made of what,
// how good, and why it goes live or does not.
type Deployment struct {
	Version   captioner.Digest   `json:"version"`
	ShortName string             `json:"short_name"`
	RunID     string             `json:"run_id"`
	Dataset   captioner.Digest   `json:"dataset"`
	Config    captioner.Digest   `json:"config"`
	Scores    []captioner.Scores `json:"scores"`
	// Demonstration holds the scores that only demonstration pictures have.
	Demonstration map[string]float64 `json:"demonstration,omitempty"`
	Decision      captioner.Decision `json:"decision"`
	DecidedAt     time.Time          `json:"decided_at"`
	// Files are the digests of the deploy files beside this one.
	Files map[string]captioner.Digest `json:"files,omitempty"`
}

const deploymentFile = "deployment.json"

// WriteDeploymentManifest writes deployment.json and, for a version that goes
// live, the deploy files that name it; and quarantine.json, where pictures or
// caption lines were left out. They are stored as blobs and laid out below
// runs/<run>/ of the worker's data directory.
func (a *Activities) WriteDeploymentManifest(ctx context.Context, in WriteDeploymentManifestInput) (WriteDeploymentManifestResult, error) {
	deployment := Deployment{
		Version: in.Version, ShortName: in.Version.Short(), RunID: in.RunID,
		Dataset: in.Dataset, Config: in.Config,
		Scores: in.Evaluation.Scores, Demonstration: in.Evaluation.Demonstration,
		Decision: in.Decision, DecidedAt: a.now().Truncate(time.Second),
	}
	var out WriteDeploymentManifestResult
	if in.Quarantined > 0 {
		if err := a.writeQuarantine(ctx, in.RunID, in.Dataset); err != nil {
			return out, err
		}
	}
	if in.Decision.Outcome == captioner.Promote {
		rendered, err := deploy.Render(in.Version)
		if err != nil {
			return out, captioner.Wrap(captioner.Internal, err, "render the deploy files")
		}
		out.Files = map[string]captioner.Digest{}
		for name, content := range rendered {
			if out.Files[name], err = a.leaveFile(ctx, in.RunID, name, content); err != nil {
				return out, err
			}
		}
	}
	deployment.Files = out.Files
	content, err := json.MarshalIndent(deployment, "", "  ")
	if err != nil {
		return out, captioner.Wrap(captioner.Internal, err, "encode %s", deploymentFile)
	}
	if out.Deployment, err = a.leaveFile(ctx, in.RunID, deploymentFile, append(content, '\n')); err != nil {
		return out, err
	}
	failpoint.Reached(failpoint.DeploymentWritten)
	return out, nil
}

// leaveFile stores a file as a blob and writes it where people look for it.
func (a *Activities) leaveFile(ctx context.Context, runID, name string, content []byte) (captioner.Digest, error) {
	digest, _, err := a.Blobs.Put(ctx, bytes.NewReader(content))
	if err != nil {
		return "", err
	}
	// Another attempt's files, with its own time, may lie there already.
	if err := a.Store.CheckAttempt(ctx); err != nil {
		return "", err
	}
	return digest, writeFile(filepath.Join(a.runsDir(), tracking.Folder(runID), filepath.FromSlash(name)), content)
}
