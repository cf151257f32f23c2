package workflows

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"strings"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/activities"
	"github.com/captioner/captioner/internal/temporaltrace"
)

// queryTimeout bounds the wait for a worker to answer a query: without a worker a
// run is shown without its stages.
const queryTimeout = 2 * time.Second

// Describe returns a run with its stages, latest metrics and outcome; NotFound.
func (c *Client) Describe(ctx context.Context, id string) (captioner.Run, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	described, err := c.describe(ctx, id)
	if captioner.KindOf(err) == captioner.NotFound {
		return c.fromRecord(ctx, id, err)
	}
	if err != nil {
		return captioner.Run{}, err
	}
	info := described.GetWorkflowExecutionInfo()
	run := c.runOf(info)
	if !run.State.Ended() {
		run.State, run.Note = standing(described, time.Now())
	}
	progress, err := c.progress(ctx, info)
	if err != nil {
		return run, err
	}
	run.Stages, run.RunKey, run.Dataset = progress.Stages, progress.RunKey, progress.Dataset
	noteRetries(run.Stages, described.GetPendingActivities())
	noteWaiting(run.Stages, described.GetPendingActivities(), time.Now())
	if run.Metrics, err = c.latestMetrics(ctx, run.RunKey); err != nil {
		return run, err
	}
	if run.MLflowURL, err = c.mlflowURL(ctx, id); err != nil {
		return run, err
	}
	return c.withOutcome(ctx, run)
}

// Config returns the configuration of a run with its defaults filled in, as it
// was recorded when the run had checked it; NotFound where it never was.
func (c *Client) Config(ctx context.Context, id string) (captioner.Config, error) {
	record, err := c.Store.RunRecord(ctx, id)
	if captioner.KindOf(err) == captioner.NotFound {
		return captioner.Config{}, captioner.Errorf(captioner.NotFound, "no configuration of run %q is known", id)
	}
	if err != nil {
		return captioner.Config{}, err
	}
	cfg := captioner.DefaultConfig() // for fields that are younger than the record
	if err := json.Unmarshal(record.Config, &cfg); err != nil {
		return cfg, captioner.Wrap(captioner.Internal, err, "read the configuration of run %s", id)
	}
	return cfg, nil
}

// describe asks Temporal about a run of ours.
func (c *Client) describe(ctx context.Context, id string) (*workflowservice.DescribeWorkflowExecutionResponse, error) {
	described, err := c.Temporal.DescribeWorkflowExecution(ctx, id, "")
	if err != nil {
		return nil, notFoundOr(err, id, "describe the run")
	}
	if described.GetWorkflowExecutionInfo().GetType().GetName() != TrainAndDeployName {
		return nil, noRun(id)
	}
	return described, nil
}

// runOf translates what Temporal knows about a run at a glance.
func (c *Client) runOf(info *workflowpb.WorkflowExecutionInfo) captioner.Run {
	execution := info.GetExecution()
	run := captioner.Run{
		ID: execution.GetWorkflowId(), TemporalRunID: execution.GetRunId(),
		State: stateOf(info.GetStatus()), StartedAt: info.GetStartTime().AsTime(),
		TemporalURL: c.link(execution.GetWorkflowId(), execution.GetRunId()),
		TraceID:     traceID(memo(info.GetMemo(), memoTrace), execution.GetRunId()),
	}
	if run.State.Ended() {
		finished := info.GetCloseTime().AsTime()
		run.FinishedAt = &finished
	}
	return run
}

func stateOf(status enumspb.WorkflowExecutionStatus) captioner.RunState {
	switch status {
	case enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING, enumspb.WORKFLOW_EXECUTION_STATUS_CONTINUED_AS_NEW:
		return captioner.RunRunning
	case enumspb.WORKFLOW_EXECUTION_STATUS_COMPLETED:
		return captioner.RunCompleted
	case enumspb.WORKFLOW_EXECUTION_STATUS_CANCELED, enumspb.WORKFLOW_EXECUTION_STATUS_TERMINATED:
		return captioner.RunCancelled
	default:
		return captioner.RunFailed
	}
}

// progress returns how far a run is: as its record says when it has ended, else
// as the workflow does. Where no worker answers in time, the record at least
// knows where the metrics are.
func (c *Client) progress(ctx context.Context, info *workflowpb.WorkflowExecutionInfo) (captioner.Progress, error) {
	execution := info.GetExecution()
	recorded, err := c.recordedProgress(ctx, execution.GetWorkflowId())
	if err != nil {
		return captioner.Progress{}, err
	}
	if stateOf(info.GetStatus()).Ended() && len(recorded.Stages) > 0 {
		return recorded, nil
	}
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	var p captioner.Progress
	value, err := c.Temporal.QueryWorkflow(ctx, execution.GetWorkflowId(), execution.GetRunId(), ProgressQuery)
	if err != nil || value.Get(&p) != nil {
		recorded.Stages = nil // of an earlier run with this ID, if there are any
		return recorded, nil
	}
	return p, nil
}

// recordedProgress returns what a run's record knows, which may be nothing.
func (c *Client) recordedProgress(ctx context.Context, id string) (captioner.Progress, error) {
	record, err := c.Store.RunRecord(ctx, id)
	if captioner.KindOf(err) == captioner.NotFound || err == nil && record.Progress == nil {
		return captioner.Progress{}, nil
	}
	if err != nil {
		return captioner.Progress{}, err
	}
	return *record.Progress, nil
}

// latestMetrics returns the newest values of a training; none without a key.
func (c *Client) latestMetrics(ctx context.Context, runKey string) (map[string]float64, error) {
	if runKey == "" {
		return nil, nil
	}
	return c.Store.LatestMetrics(ctx, runKey)
}

// mlflowURL returns the address of a run's page in MLflow, empty without one.
func (c *Client) mlflowURL(ctx context.Context, id string) (string, error) {
	d, err := c.Store.Delivery(ctx, id)
	if captioner.KindOf(err) == captioner.NotFound {
		return "", nil
	}
	return d.URL, err
}

// withOutcome adds the result, or the reason of a failure, of a closed run.
// A record that does not know yet that the run has ended, since the run was
// terminated from outside, learns it here.
func (c *Client) withOutcome(ctx context.Context, run captioner.Run) (captioner.Run, error) {
	if !run.State.Ended() {
		return run, nil
	}
	var result captioner.RunResult
	err := c.Temporal.GetWorkflow(ctx, run.ID, run.TemporalRunID).Get(ctx, &result)
	var failed *temporal.WorkflowExecutionError
	switch {
	case err == nil && result.Unchanged:
		run.State = captioner.RunUnchanged
	case err == nil:
		run.Result = &result
	case !errors.As(err, &failed): // the call has failed, and not the run
		return run, unavailable(err, "read the run's result")
	case run.State == captioner.RunCancelled:
	default:
		run.Error, run.Problems = sentence(err), captioner.ProblemsOf(activities.FromFailure(err))
	}
	return run, c.reconcile(ctx, run)
}

// reconcile writes the outcome of a run into a record that says that it runs.
func (c *Client) reconcile(ctx context.Context, run captioner.Run) error {
	record, err := c.Store.RunRecord(ctx, run.ID)
	if captioner.KindOf(err) == captioner.NotFound || err == nil && record.State != captioner.RunRunning {
		return nil
	}
	if err != nil {
		return err
	}
	return c.Store.FinishRun(ctx, run.ID, run.State, run.Result, run.Error)
}

// fromRecord returns a run whose history Temporal no longer keeps.
func (c *Client) fromRecord(ctx context.Context, id string, notFound error) (captioner.Run, error) {
	record, err := c.Store.RunRecord(ctx, id)
	if captioner.KindOf(err) == captioner.NotFound {
		return captioner.Run{}, notFound
	}
	if err != nil {
		return captioner.Run{}, err
	}
	run := recorded(record)
	if record.Progress != nil {
		run.Stages, run.RunKey, run.Dataset, run.TraceID = record.Progress.Stages, record.Progress.RunKey, record.Progress.Dataset, record.Progress.TraceID
	}
	if run.Metrics, err = c.latestMetrics(ctx, run.RunKey); err != nil {
		return run, err
	}
	run.MLflowURL, err = c.mlflowURL(ctx, id)
	return run, err
}

// recorded translates a record. One that still says "running" is of a run whose
// end nobody has seen.
func recorded(r captioner.RunRecord) captioner.Run {
	run := captioner.Run{
		ID: r.ID, State: r.State, StartedAt: r.CreatedAt, FinishedAt: r.FinishedAt, Result: r.Result, Error: r.Message,
	}
	if run.State == captioner.RunRunning {
		run.State, run.Error = captioner.RunFailed, "the run's history is gone, and its outcome was never recorded"
	}
	return run
}

// link is the run's page in Temporal's Web UI.
func (c *Client) link(id, temporalRunID string) string {
	if c.UIURL == "" {
		return ""
	}
	namespace := c.Namespace
	if namespace == "" {
		namespace = client.DefaultNamespace
	}
	return strings.TrimSuffix(c.UIURL, "/") + "/namespaces/" + url.PathEscape(namespace) +
		"/workflows/" + url.PathEscape(id) + "/" + url.PathEscape(temporalRunID) + "/history"
}

// memo reads a string of a run's memo, "" where it has none.
func memo(m *commonpb.Memo, name string) (value string) {
	if payload, ok := m.GetFields()[name]; ok {
		_ = converter.GetDefaultDataConverter().FromPayload(payload, &value) // "" if it is no string
	}
	return value
}

// traceID is the noted one, or that of a run that was started outside any trace.
func traceID(noted, temporalRunID string) string {
	if noted != "" {
		return noted
	}
	if id := temporaltrace.WorkflowTraceID(temporalRunID); id.IsValid() {
		return id.String()
	}
	return ""
}
