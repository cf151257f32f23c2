package workflows

import (
	"context"
	"errors"
	"slices"
	"time"

	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"golang.org/x/sync/errgroup"

	"github.com/captioner/captioner"
)

const (
	// pageSize is how many runs are asked for at a time.
	pageSize = 100
	// describers is how many runs of a list are asked about at a time.
	describers = 8
)

// List returns the newest runs first, without their stages: those that Temporal
// knows, and then those that only the records know.
func (c *Client) List(ctx context.Context, limit int) ([]captioner.Run, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var runs []captioner.Run
	known := map[string]bool{}
	var page []byte
	for len(runs) < limit {
		response, err := c.Temporal.ListWorkflow(ctx, &workflowservice.ListWorkflowExecutionsRequest{
			Query: "WorkflowType = '" + TrainAndDeployName + "'", PageSize: int32(min(pageSize, limit)), NextPageToken: page,
		})
		if err != nil {
			return nil, unavailable(err, "list the runs")
		}
		for _, info := range response.GetExecutions() {
			if id := info.GetExecution().GetWorkflowId(); !known[id] {
				known[id] = true
				runs = append(runs, c.runOf(info))
			}
		}
		if page = response.GetNextPageToken(); len(page) == 0 {
			break
		}
	}
	if err := c.refresh(ctx, runs); err != nil {
		return nil, err
	}
	records, err := c.Store.RunRecords(ctx, limit)
	if err != nil {
		return nil, err
	}
	return merge(runs, records, limit), nil
}

// refresh finds out where the runs of a list stand that go on: Temporal's index of
// runs knows no steps, and is a moment behind.
func (c *Client) refresh(ctx context.Context, runs []captioner.Run) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(describers)
	for i := range runs {
		if runs[i].State.Ended() {
			continue
		}
		group.Go(func() error {
			described, err := c.Temporal.DescribeWorkflowExecution(ctx, runs[i].ID, runs[i].TemporalRunID)
			var gone *serviceerror.NotFound
			switch {
			case errors.As(err, &gone):
				return nil
			case err != nil:
				return unavailable(err, "list the runs")
			}
			runs[i] = c.runOf(described.GetWorkflowExecutionInfo())
			if !runs[i].State.Ended() {
				runs[i].State, runs[i].Note = standing(described, time.Now())
			}
			return nil
		})
	}
	return group.Wait()
}

// merge adds to the runs what their records say, and the runs that only have a
// record.
func merge(runs []captioner.Run, records []captioner.RunRecord, limit int) []captioner.Run {
	at := map[string]int{}
	for i, run := range runs {
		at[run.ID] = i
	}
	for _, record := range records {
		i, known := at[record.ID]
		switch {
		case !known && record.State != captioner.RunRunning:
			runs = append(runs, recorded(record))
		case known && record.State == captioner.RunUnchanged && runs[i].State == captioner.RunCompleted:
			runs[i].State = record.State // Temporal knows no such end
		case known && runs[i].State == record.State:
			runs[i].Result, runs[i].Error = record.Result, record.Message
		}
	}
	slices.SortStableFunc(runs, func(a, b captioner.Run) int { return b.StartedAt.Compare(a.StartedAt) })
	return runs[:min(limit, len(runs))]
}
