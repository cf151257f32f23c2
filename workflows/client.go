package workflows

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"
	"go.opentelemetry.io/otel/trace"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"golang.org/x/sync/errgroup"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/activities"
	"github.com/captioner/captioner/internal/config"
	"github.com/captioner/captioner/internal/temporaltrace"
)

const (
	// queryTimeout bounds the wait for a worker to answer a query: without a
	// worker a run is shown without its stages.
	queryTimeout = 2 * time.Second
	// callTimeout bounds what a caller waits for: within it the SDK tries a call
	// that got lost again.
	callTimeout = 10 * time.Second
	// dryRunTimeout bounds the wait for a worker to check a configuration.
	dryRunTimeout = 30 * time.Second
	// workflowTaskTimeout is how long a worker may take to decide what comes next,
	// which takes milliseconds, before another one is asked. Temporal's default is
	// twice as long.
	workflowTaskTimeout = 5 * time.Second
	// pageSize is how many runs are asked for at a time.
	pageSize = 100
)

// Client starts runs and follows them. All of its errors carry a
// captioner.Kind; Unavailable when Temporal cannot be reached.
type Client struct {
	Temporal client.Client
	Store    captioner.Store
	// UIURL is the address of Temporal's Web UI; empty makes no links.
	UIURL string
	// Namespace is Temporal's; empty means "default".
	Namespace string
	// Actor is noted as who starts runs; empty means "api".
	Actor string
}

// NewRunID returns the ID of a new run, which equals that of its workflow.
// IDs sort by time.
func NewRunID() string { return runIDPrefix + strings.ToLower(ulid.Make().String()) }

// RunIDFor returns the ID of the run that belongs to an idempotency key.
func RunIDFor(key string) string {
	sum := sha256.Sum256([]byte(key))
	return runIDPrefix + strings.ToLower(ulid.ULID(sum[:16]).String())
}

const runIDPrefix = "train-"

// Start begins a run. A key that was used before gives the run that it began,
// or Conflict when that was asked for with another configuration; an empty key
// always begins a new one. Unavailable may mean, too, that the run has begun and
// the answer was lost: with the same key it is safe to ask again.
func (c *Client) Start(ctx context.Context, cfg captioner.Config, key string) (captioner.Run, error) {
	return c.start(ctx, cfg, key)
}

// Resume begins a run that goes on from the training of the run with the ID,
// with the configuration that Continue has returned. The key is as Start's.
func (c *Client) Resume(ctx context.Context, id string, cfg captioner.Config, key string) (captioner.Run, error) {
	return c.start(ctx, runInput{request{Resume: id}, cfg}, key)
}

// runInput is the input of a workflow.
type runInput struct {
	request
	captioner.Config
}

// Continue returns the configuration of a run that goes on from another: that of
// the run with the ID, with the changes, a JSON object. NotFound; Conflict while
// that run goes on; Invalid with all problems, also when there is nothing left
// to train.
func (c *Client) Continue(ctx context.Context, id string, changes []byte) (captioner.Config, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	run, err := c.Describe(ctx, id)
	if err != nil {
		return captioner.Config{}, err
	}
	if !run.State.Ended() {
		return captioner.Config{}, &captioner.Error{
			Kind: captioner.Conflict, Code: "run_under_way", Message: fmt.Sprintf("run %s is still under way: cancel it first, or wait for its end", id),
		}
	}
	record, err := c.Store.RunRecord(ctx, id)
	if err != nil {
		return captioner.Config{}, err
	}
	before, after, err := config.Continue(record.Config, changes)
	if err == nil && run.State == captioner.RunCompleted && before.Training == after.Training {
		err = config.Error([]captioner.Problem{{
			Field: "training.epochs", Message: "must be more than before: the run that is continued has trained to its end",
		}})
	}
	return after, err
}

// start starts the workflow with the input as JSON. One workflow ID belongs to a
// key, and Temporal starts a workflow of an ID once. What Temporal has forgotten
// since, the records know.
func (c *Client) start(ctx context.Context, asks any, key string) (captioner.Run, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	input, err := json.Marshal(asks)
	if err != nil {
		return captioner.Run{}, captioner.Wrap(captioner.Internal, err, "encode the configuration")
	}
	id, asked := NewRunID(), string(captioner.DigestOf(input))
	if key != "" {
		id = RunIDFor(key)
		if begun, err := c.begun(ctx, key, id, asked); err != nil {
			return captioner.Run{}, err
		} else if begun {
			return c.Describe(ctx, id)
		}
	}
	actor := c.Actor
	if actor == "" {
		actor = "api"
	}

	notes, traced := map[string]any{memoActor: actor, memoConfig: asked}, ""
	if s := trace.SpanContextFromContext(ctx); s.HasTraceID() {
		traced = s.TraceID().String()
		notes[memoTrace] = traced
	}

	started, err := c.Temporal.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID: id, TaskQueue: TaskQueue,
		WorkflowIDReusePolicy:                    enumspb.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE,
		WorkflowExecutionErrorWhenAlreadyStarted: true,
		WorkflowTaskTimeout:                      workflowTaskTimeout,
		Memo:                                     notes,
	}, TrainAndDeployName, json.RawMessage(input))
	var already *serviceerror.WorkflowExecutionAlreadyStarted
	switch {
	case errors.As(err, &already):
		return c.existing(ctx, id, asked)
	case err != nil:
		return captioner.Run{}, unavailable(err, "start the run")
	}
	return captioner.Run{
		ID: id, TemporalRunID: started.GetRunID(), State: captioner.RunRunning, StartedAt: time.Now().UTC(),
		Stages: pendingStages(), TemporalURL: c.link(id, started.GetRunID()),
		TraceID: traceID(traced, started.GetRunID()),
	}, nil
}

// begun reports whether the records know that the key began its run. It claims a
// new key for what is asked; Conflict for one that stands for something else.
func (c *Client) begun(ctx context.Context, key, id, asked string) (bool, error) {
	request, first, err := c.Store.ClaimRequest(ctx, captioner.DigestOf([]byte(key)), captioner.Digest(asked))
	switch {
	case err != nil:
		return false, err
	case request.Asked != captioner.Digest(asked):
		return false, captioner.KeyReused()
	case first:
		return false, nil
	}
	_, err = c.Store.RunRecord(ctx, id)
	if captioner.KindOf(err) == captioner.NotFound {
		return false, nil // Temporal knows whether it has begun
	}
	return err == nil, err
}

// existing returns the run that a key began, if it was for the same configuration.
func (c *Client) existing(ctx context.Context, id, asked string) (captioner.Run, error) {
	described, err := c.describe(ctx, id)
	if err != nil {
		return captioner.Run{}, err
	}
	info := described.GetWorkflowExecutionInfo()
	if before := memo(info.GetMemo(), memoConfig); before != asked {
		return captioner.Run{}, captioner.KeyReused()
	}
	return c.Describe(ctx, id)
}

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

// noteRetries says of each running stage why its step is being tried again.
func noteRetries(stages []captioner.Stage, activities []*workflowpb.PendingActivityInfo) {
	for _, pending := range activities {
		if pending.GetAttempt() < 2 || pending.GetLastFailure() == nil {
			continue
		}
		for i := range stages {
			if stages[i].Name == pending.GetActivityType().GetName() && stages[i].State == stateRunning {
				stages[i].Error = fmt.Sprintf("attempt %d; the one before: %s", pending.GetAttempt(), whatHappened(pending))
			}
		}
	}
}

// waitWorthNoting is how long a step waits before anything is said of it: a
// moment passes between any two steps.
const waitWorthNoting = 3 * time.Second

// noteWaiting says of each running stage that no worker has taken its step yet:
// a worker does one thing at a time that needs an engine.
func noteWaiting(stages []captioner.Stage, activities []*workflowpb.PendingActivityInfo, now time.Time) {
	waits := map[string]bool{}
	for _, pending := range activities {
		name := pending.GetActivityType().GetName()
		taken := pending.GetState() != enumspb.PENDING_ACTIVITY_STATE_SCHEDULED || pending.GetAttempt() > 1 ||
			now.Sub(pending.GetScheduledTime().AsTime()) < waitWorthNoting
		others, seen := waits[name]
		waits[name] = !taken && (others || !seen)
	}
	for i := range stages {
		if stages[i].State == stateRunning && waits[stages[i].Name] {
			stages[i].Note = "waits for a free worker"
		}
	}
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

// describers is how many runs of a list are asked about at a time.
const describers = 8

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

// Cancel asks a run to stop; NotFound, or Conflict when it has ended. The run
// is over when Describe says so: at the latest some seconds later.
func (c *Client) Cancel(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	described, err := c.describe(ctx, id)
	if err != nil {
		return err
	}
	ended := captioner.Errorf(captioner.Conflict, "run %s has ended already", id)
	if described.GetWorkflowExecutionInfo().GetStatus() != enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING {
		return ended
	}
	err = c.Temporal.CancelWorkflow(ctx, id, "")
	var gone *serviceerror.NotFound
	if errors.As(err, &gone) {
		return ended
	}
	if err != nil {
		return unavailable(err, "cancel the run")
	}
	return nil
}

// WaitResult waits until the run has ended and returns its result or, as an
// error of the kind of the step's, why it failed. A cancelled run is Conflict,
// code "cancelled".
func (c *Client) WaitResult(ctx context.Context, id string) (captioner.RunResult, error) {
	var result captioner.RunResult
	err := c.Temporal.GetWorkflow(ctx, id, "").Get(ctx, &result)
	switch {
	case err == nil:
		return result, nil
	case ctx.Err() != nil:
		return result, ctx.Err()
	case temporal.IsCanceledError(err) || isTerminated(err):
		return result, &captioner.Error{Kind: captioner.Conflict, Code: "cancelled", Message: "the run was cancelled"}
	}
	var failed *temporal.WorkflowExecutionError
	if errors.As(err, &failed) {
		return result, activities.FromFailure(err)
	}
	return result, notFoundOr(err, id, "wait for the run")
}

func isTerminated(err error) bool {
	var terminated *temporal.TerminatedError
	return errors.As(err, &terminated)
}

// DryRun checks a configuration on a worker, where the data is. Invalid with
// all problems when it cannot work; Unavailable when no worker answers.
func (c *Client) DryRun(ctx context.Context, cfg captioner.Config) error {
	ctx, cancel := context.WithTimeout(ctx, dryRunTimeout+callTimeout)
	defer cancel()
	input, err := json.Marshal(cfg)
	if err != nil {
		return captioner.Wrap(captioner.Internal, err, "encode the configuration")
	}
	started, err := c.Temporal.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID:        "validate-" + strings.ToLower(ulid.Make().String()),
		TaskQueue: TaskQueue, WorkflowExecutionTimeout: dryRunTimeout,
	}, ValidateOnlyName, json.RawMessage(input))
	if err != nil {
		return unavailable(err, "check the configuration on a worker")
	}
	err = started.Get(ctx, nil)
	var failed *temporal.WorkflowExecutionError
	var timeout *temporal.TimeoutError
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &failed):
		return unavailable(err, "check the configuration on a worker")
	case errors.As(err, &timeout):
		return captioner.Wrap(captioner.Unavailable, err, "no worker has checked the configuration within %v", dryRunTimeout)
	}
	return activities.FromFailure(err)
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

func noRun(id string) error {
	return captioner.Errorf(captioner.NotFound, "there is no run %q", id)
}

func notFoundOr(err error, id, what string) error {
	var notFound *serviceerror.NotFound
	if errors.As(err, &notFound) {
		return noRun(id)
	}
	var invalid *serviceerror.InvalidArgument
	if errors.As(err, &invalid) {
		return noRun(id) // an ID that no run can have
	}
	return unavailable(err, what)
}

func unavailable(err error, what string) error {
	return captioner.Wrap(captioner.Unavailable, err, "cannot %s: the workflow service does not answer", what)
}
