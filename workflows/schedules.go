package workflows

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"

	"github.com/captioner/captioner"
)

// Schedules are Temporal's own. What was asked for stands in a schedule's memo,
// since Temporal turns a cron expression into a calendar; whether it is paused,
// its times and its runs are what Temporal says.

// memoSchedule is the member of a schedule's memo that holds the
// captioner.Schedule, without its configuration.
const memoSchedule = "schedule"

const (
	// triggerTimeout bounds the wait for a triggered schedule to start its run,
	// before which it may have to cancel the last one; triggerPoll is how often it
	// is looked for.
	triggerTimeout = 30 * time.Second
	triggerPoll    = 100 * time.Millisecond
)

// overlapPolicies are Temporal's words.
var overlapPolicies = map[captioner.Overlap]enumspb.ScheduleOverlapPolicy{
	captioner.OverlapSkip:   enumspb.SCHEDULE_OVERLAP_POLICY_SKIP,
	captioner.OverlapBuffer: enumspb.SCHEDULE_OVERLAP_POLICY_BUFFER_ONE,
	captioner.OverlapCancel: enumspb.SCHEDULE_OVERLAP_POLICY_CANCEL_OTHER,
}

// CreateSchedule makes a schedule that [captioner.Schedule.Check] has nothing
// against. Conflict when there is one of that name; Invalid when Temporal cannot
// read its times.
func (c *Client) CreateSchedule(ctx context.Context, s captioner.Schedule) (captioner.Schedule, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if s.Overlap == "" {
		s.Overlap = captioner.OverlapSkip
	}
	data, err := json.Marshal(runInput{request{Schedule: s.Name, Force: s.Force}, *s.Config})
	if err != nil {
		return captioner.Schedule{}, captioner.Wrap(captioner.Internal, err, "encode the configuration")
	}
	asked := s
	asked.Config, asked.Paused = nil, false
	_, err = c.Temporal.ScheduleClient().Create(ctx, client.ScheduleOptions{
		ID: s.Name, Spec: scheduleSpec(s), Overlap: overlapPolicies[s.Overlap], Paused: s.Paused,
		Memo: map[string]any{memoSchedule: asked},
		Action: &client.ScheduleWorkflowAction{
			ID: runIDPrefix + s.Name, Workflow: TrainAndDeployName, Args: []any{json.RawMessage(data)}, TaskQueue: TaskQueue,
			Memo: map[string]any{memoActor: "schedule:" + s.Name},
		},
	})
	var invalid *serviceerror.InvalidArgument
	switch {
	case errors.Is(err, temporal.ErrScheduleAlreadyRunning):
		return captioner.Schedule{}, &captioner.Error{
			Kind: captioner.Conflict, Code: "schedule_exists", Message: fmt.Sprintf("there is a schedule %q already: delete it first, or take another name", s.Name),
		}
	case errors.As(err, &invalid):
		return captioner.Schedule{}, refusedTimes(s, invalid)
	case err != nil:
		return captioner.Schedule{}, unavailable(err, "make the schedule")
	}
	return c.Schedule(ctx, s.Name)
}

func scheduleSpec(s captioner.Schedule) client.ScheduleSpec {
	spec := client.ScheduleSpec{TimeZoneName: s.TimeZone, Jitter: time.Duration(s.Jitter)}
	if s.Cron != "" {
		spec.CronExpressions = []string{s.Cron}
	} else {
		spec.Intervals = []client.ScheduleIntervalSpec{{Every: time.Duration(s.Every)}}
	}
	return spec
}

// refusedTimes says which of a schedule's times Temporal cannot read.
func refusedTimes(s captioner.Schedule, err error) error {
	p := captioner.Problem{Field: "cron", Message: fmt.Sprintf(`%q cannot be read: five fields are minute, hour, day of the month, month, day of the week, such as "0 3 * * *" for three at night`, s.Cron)}
	if s.TimeZone != "" && strings.Contains(strings.ToLower(err.Error()), "time zone") {
		p = captioner.Problem{Field: "time_zone", Message: fmt.Sprintf("%q is unknown to Temporal: use an IANA name such as Europe/Berlin", s.TimeZone)}
	}
	return &captioner.Error{Kind: captioner.Invalid, Code: "invalid_schedule", Message: "the schedule is invalid", Problems: []captioner.Problem{p}, Err: err}
}

// Schedules lists the schedules by name, without their configurations. Temporal's
// list follows a moment behind.
func (c *Client) Schedules(ctx context.Context) ([]captioner.Schedule, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	listed, err := c.Temporal.ScheduleClient().List(ctx, client.ScheduleListOptions{PageSize: pageSize})
	if err != nil {
		return nil, unavailable(err, "list the schedules")
	}
	var list []captioner.Schedule
	for listed.HasNext() {
		entry, err := listed.Next()
		if err != nil {
			return nil, unavailable(err, "list the schedules")
		}
		if entry.WorkflowType.Name != TrainAndDeployName {
			continue // somebody else's
		}
		s := askedSchedule(entry.ID, entry.Memo)
		s.Paused, s.Next, s.Runs = entry.Paused, entry.NextActionTimes, scheduledRuns(entry.RecentActions)
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b captioner.Schedule) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

// Schedule describes a schedule with its configuration and its last runs;
// NotFound.
func (c *Client) Schedule(ctx context.Context, name string) (captioner.Schedule, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	s, _, err := c.describeSchedule(ctx, name)
	if err != nil {
		return s, err
	}
	for i, run := range s.Runs {
		if s.Runs[i].State, err = c.recordedState(ctx, run.ID); err != nil {
			return s, err
		}
	}
	return s, nil
}

// recordedState is where a run stands by its record; one that has not been
// recorded yet runs.
func (c *Client) recordedState(ctx context.Context, id string) (captioner.RunState, error) {
	record, err := c.Store.RunRecord(ctx, id)
	if captioner.KindOf(err) == captioner.NotFound {
		return captioner.RunRunning, nil
	}
	return record.State, err
}

// describeSchedule asks Temporal about a schedule of ours.
func (c *Client) describeSchedule(ctx context.Context, name string) (captioner.Schedule, client.ScheduleInfo, error) {
	described, err := c.schedule(ctx, name).Describe(ctx)
	if err != nil {
		return captioner.Schedule{}, client.ScheduleInfo{}, noSchedule(err, name, "describe the schedule")
	}
	action, _ := described.Schedule.Action.(*client.ScheduleWorkflowAction)
	if action == nil || action.Workflow != TrainAndDeployName {
		return captioner.Schedule{}, client.ScheduleInfo{}, captioner.Errorf(captioner.NotFound, "there is no schedule %q", name)
	}
	s := askedSchedule(name, described.Memo)
	s.Paused, s.Next, s.Runs = described.Schedule.State.Paused, described.Info.NextActionTimes, scheduledRuns(described.Info.RecentActions)
	s.Config, err = scheduledConfig(action)
	return s, described.Info, err
}

func (c *Client) schedule(ctx context.Context, name string) client.ScheduleHandle {
	return c.Temporal.ScheduleClient().GetHandle(ctx, name)
}

// askedSchedule reads what was asked for; of a schedule that another Temporal
// client has made it is only the name.
func askedSchedule(name string, m *commonpb.Memo) (s captioner.Schedule) {
	if payload, ok := m.GetFields()[memoSchedule]; ok {
		_ = converter.GetDefaultDataConverter().FromPayload(payload, &s) // else the name alone
	}
	s.Name = name
	return s
}

// scheduledRuns are the runs that a schedule has started, the newest first.
func scheduledRuns(actions []client.ScheduleActionResult) (runs []captioner.ScheduledRun) {
	for _, action := range slices.Backward(actions) {
		if started := action.StartWorkflowResult; started != nil {
			runs = append(runs, captioner.ScheduledRun{ID: started.WorkflowID, StartedAt: action.ActualTime})
		}
	}
	return runs
}

// scheduledConfig is the configuration in the input of a schedule's runs, over
// the defaults.
func scheduledConfig(action *client.ScheduleWorkflowAction) (*captioner.Config, error) {
	cfg := captioner.DefaultConfig()
	if len(action.Args) == 0 {
		return &cfg, nil // a run without an input runs the defaults
	}
	payload, _ := action.Args[0].(*commonpb.Payload)
	if err := converter.GetDefaultDataConverter().FromPayload(payload, &cfg); err != nil {
		return nil, captioner.Wrap(captioner.Internal, err, "read the configuration of the schedule")
	}
	return &cfg, nil
}

// PauseSchedule keeps a schedule from starting runs, and with paused false lets
// it again. A run that is under way goes on. NotFound.
func (c *Client) PauseSchedule(ctx context.Context, name string, paused bool) (captioner.Schedule, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if _, _, err := c.describeSchedule(ctx, name); err != nil {
		return captioner.Schedule{}, err
	}
	var err error
	if paused {
		err = c.schedule(ctx, name).Pause(ctx, client.SchedulePauseOptions{Note: "paused with captioner"})
	} else {
		err = c.schedule(ctx, name).Unpause(ctx, client.ScheduleUnpauseOptions{Note: "resumed with captioner"})
	}
	if err != nil {
		return captioner.Schedule{}, noSchedule(err, name, "pause or resume the schedule")
	}
	return c.Schedule(ctx, name)
}

// DeleteSchedule ends a schedule. A run that is under way goes on. NotFound.
func (c *Client) DeleteSchedule(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if _, _, err := c.describeSchedule(ctx, name); err != nil {
		return err
	}
	return noSchedule(c.schedule(ctx, name).Delete(ctx), name, "delete the schedule")
}

// TriggerSchedule starts a run of a schedule now, also of one that is paused, and
// returns it. It is a run of the schedule's like any other: it ends before its
// work if its data has not changed. With force it is a run of its own, of the
// same configuration. NotFound; Conflict while a run of the schedule is under way,
// where its overlap policy starts no other then.
func (c *Client) TriggerSchedule(ctx context.Context, name string, force bool) (captioner.Run, error) {
	ctx, cancel := context.WithTimeout(ctx, triggerTimeout+callTimeout)
	defer cancel()
	s, before, err := c.describeSchedule(ctx, name)
	if err != nil {
		return captioner.Run{}, err
	}
	if force || s.Overlap != captioner.OverlapCancel {
		if err := c.noneUnderWay(ctx, before.RunningWorkflows); err != nil {
			return captioner.Run{}, err
		}
	}
	if force {
		return c.Start(ctx, *s.Config, "")
	}
	if err := awaitNextSecond(ctx, s.Runs); err != nil {
		return captioner.Run{}, err
	}
	if err := c.schedule(ctx, name).Trigger(ctx, client.ScheduleTriggerOptions{}); err != nil {
		return captioner.Run{}, noSchedule(err, name, "trigger the schedule")
	}
	id, err := c.awaitTriggered(ctx, name, before.NumActions)
	if err != nil {
		return captioner.Run{}, err
	}
	return c.Describe(ctx, id)
}

// noneUnderWay is a Conflict if one of the runs that a schedule takes for running
// does; it learns of their end a moment later.
func (c *Client) noneUnderWay(ctx context.Context, running []client.ScheduleWorkflowExecution) error {
	for _, execution := range running {
		described, err := c.describe(ctx, execution.WorkflowID)
		if captioner.KindOf(err) == captioner.NotFound {
			continue
		}
		if err != nil {
			return err
		}
		if stateOf(described.GetWorkflowExecutionInfo().GetStatus()) == captioner.RunRunning {
			return &captioner.Error{
				Kind: captioner.Conflict, Code: "run_under_way",
				Message: fmt.Sprintf("run %s of the schedule is still under way: cancel it first, or wait for its end", execution.WorkflowID),
			}
		}
	}
	return nil
}

// awaitNextSecond waits until the second is over in which the newest of the runs
// was started: it stands in the run's ID, and two runs would have the same.
func awaitNextSecond(ctx context.Context, runs []captioner.ScheduledRun) error {
	if len(runs) == 0 {
		return nil
	}
	over := runs[0].StartedAt.Truncate(time.Second).Add(time.Second)
	timer := time.NewTimer(min(time.Until(over), time.Second)) // the server's clock may be ahead
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// awaitTriggered returns the run that a schedule starts after a number of others.
func (c *Client) awaitTriggered(ctx context.Context, name string, before int) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, triggerTimeout)
	defer cancel()
	ticker := time.NewTicker(triggerPoll)
	defer ticker.Stop()
	for {
		s, now, err := c.describeSchedule(ctx, name)
		if err == nil && now.NumActions > before && len(s.Runs) > 0 {
			return s.Runs[0].ID, nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return "", captioner.Wrap(captioner.Unavailable, errors.Join(err, ctx.Err()), "the schedule was triggered and has not started a run within %v: look at it again", triggerTimeout)
		}
	}
}

// noSchedule translates an error of Temporal's about a schedule; nil for nil.
func noSchedule(err error, name, what string) error {
	var notFound *serviceerror.NotFound
	var invalid *serviceerror.InvalidArgument
	switch {
	case err == nil:
		return nil
	case errors.As(err, &notFound), errors.As(err, &invalid): // an ID that no schedule can have
		return captioner.Errorf(captioner.NotFound, "there is no schedule %q", name)
	}
	return unavailable(err, what)
}
