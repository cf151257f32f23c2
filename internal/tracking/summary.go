package tracking

import (
	"encoding/json"
	"os"
	"time"

	"github.com/captioner/captioner"
)

// summary is the content of run_summary.json.
type summary struct {
	RunID      string             `json:"run_id"`
	Status     captioner.RunState `json:"status"`
	StartedBy  string             `json:"started_by"`
	StartedAt  time.Time          `json:"started_at"`
	FinishedAt *time.Time         `json:"finished_at,omitempty"`
	Error      string             `json:"error,omitempty"`

	Git         Build            `json:"git"`
	Environment Environment      `json:"environment"`
	ConfigHash  captioner.Digest `json:"config_hash"`
	Dataset     captioner.Digest `json:"dataset,omitempty"`

	TotalEpochs  int                `json:"total_epochs"`
	TotalSteps   int                `json:"total_steps"`
	FinalMetrics map[string]float64 `json:"final_metrics"`
	// BestMetrics are the lowest losses.
	BestMetrics map[string]best `json:"best_metrics"`

	Version       captioner.Digest    `json:"version,omitempty"`
	Decision      *captioner.Decision `json:"decision,omitempty"`
	Deployed      bool                `json:"deployed"`
	Scores        []captioner.Scores  `json:"scores,omitempty"`
	Demonstration map[string]float64  `json:"demonstration,omitempty"`
	// Warnings are sentences about what was likely not meant.
	Warnings []string `json:"warnings,omitempty"`
	// Reused are the stages whose result an earlier run had left.
	Reused []string `json:"reused,omitempty"`
	// Files lists what lies beside this one.
	Files []string `json:"files"`
}

// readSummary returns the summary at path; false where there is none that can
// be read.
func readSummary(path string) (s summary, ok bool) {
	data, err := os.ReadFile(path)
	return s, err == nil && json.Unmarshal(data, &s) == nil
}

// complete says whether the summary tells all about the record.
func (s summary) complete(r captioner.RunRecord) bool {
	return r.State != captioner.RunRunning && s.Status == r.State &&
		s.FinishedAt != nil && r.FinishedAt != nil && s.FinishedAt.Equal(*r.FinishedAt)
}

// summarise puts together what is known of a run.
func summarise(r captioner.RunRecord, hash captioner.Digest, c *curves) summary {
	s := summary{
		RunID: r.ID, Status: r.State, StartedBy: r.Actor, StartedAt: r.CreatedAt, FinishedAt: r.FinishedAt, Error: r.Message,
		ConfigHash: hash, FinalMetrics: c.final(), BestMetrics: c.lowest(),
	}
	if n := len(c.rows); n > 0 {
		s.TotalSteps = c.rows[n-1].step
	}
	s.TotalEpochs = int(s.FinalMetrics["epoch"])
	if r.Progress != nil {
		s.Dataset = r.Progress.Dataset
	}
	if result := r.Result; result != nil {
		s.Version, s.Decision, s.Deployed, s.Reused = result.Version, &result.Decision, result.Deployed, result.Reused
		s.Warnings = result.Warnings
		s.Scores, s.Demonstration = result.Evaluation.Scores, result.Evaluation.Demonstration
	}
	return s
}
