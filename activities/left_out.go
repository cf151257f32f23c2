package activities

import (
	"context"
	"encoding/json"
	"maps"
	"slices"

	"github.com/captioner/captioner"
)

const (
	// quarantineFile is what a run leaves for people to read about the pictures
	// and caption lines that it did not use.
	quarantineFile = "quarantine.json"
	// maxLeftOut bounds the list in a result, which Temporal keeps in the run's
	// history.
	maxLeftOut = 100
)

// leftOut says what was left out of a prepared data set; nil for nothing.
func (a *Activities) leftOut(ctx context.Context, p PreparedData) (*captioner.LeftOut, error) {
	if p.Quarantined == 0 {
		return nil, nil
	}
	ds, err := a.loadDataset(ctx, p.Dataset)
	if err != nil {
		return nil, err
	}
	counts := map[string]int{}
	for _, q := range ds.Quarantine {
		counts[q.Reason]++
	}
	out := &captioner.LeftOut{First: ds.Quarantine[:min(maxLeftOut, len(ds.Quarantine))]}
	for _, reason := range slices.Sorted(maps.Keys(counts)) {
		out.Reasons = append(out.Reasons, captioner.ReasonCount{Reason: reason, Count: counts[reason]})
	}
	return out, nil
}

// writeQuarantine leaves the whole list.
func (a *Activities) writeQuarantine(ctx context.Context, runID string, dataset captioner.Digest) error {
	ds, err := a.loadDataset(ctx, dataset)
	if err != nil {
		return err
	}
	content, err := json.MarshalIndent(ds.Quarantine, "", "  ")
	if err != nil {
		return captioner.Wrap(captioner.Internal, err, "encode %s", quarantineFile)
	}
	_, err = a.leaveFile(ctx, runID, quarantineFile, append(content, '\n'))
	return err
}
