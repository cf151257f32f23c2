package outbox

import (
	"context"
	"fmt"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/tracking"
	"github.com/captioner/captioner/internal/tracking/mlflow"
)

// pageOfPoints is how many points one query reads and one request delivers at
// most: MLflow's limit.
const pageOfPoints = 1000

// run is a run that is being delivered.
type run struct {
	outbox   *Outbox
	record   captioner.RunRecord
	delivery captioner.Delivery

	tracked    mlflow.Run // as the server had it when it was last asked
	introduced bool       // whether the parameters have been logged, by this process
	curves     *curves    // what the server has of them; nil while that is not known
	refusals   int        // in a row
}

// doubt notes that it is not known what the server has.
func (r *run) doubt() { r.introduced, r.curves = false, nil }

// deliver brings the server up to the record.
func (r *run) deliver(ctx context.Context) error {
	if err := r.begin(ctx); err != nil {
		return err
	}
	if !r.introduced {
		if err := r.outbox.opts.Server.LogBatch(ctx, r.tracked.ID, r.introduction()); err != nil {
			return err
		}
		r.introduced = true
	}
	if err := r.deliverCurves(ctx); err != nil {
		return err
	}
	if r.record.State == captioner.RunRunning || r.record.FinishedAt == nil {
		return nil
	}
	return r.end(ctx)
}

// complete reports whether the server has everything of a run that has ended.
func (r *run) complete() bool {
	return r.delivery.FinishedAt != nil && r.record.FinishedAt != nil && r.delivery.FinishedAt.Equal(*r.record.FinishedAt)
}

// begin finds the server's run, or makes it. A run ID that was started again
// with another training is another run there: curves cannot be taken back.
func (r *run) begin(ctx context.Context) error {
	key := r.runKey()
	if before := r.delivery.RunKey; before != "" && key != "" && key != before {
		r.delivery = captioner.Delivery{Server: r.delivery.Server, RunID: r.delivery.RunID}
		r.tracked = mlflow.Run{}
		r.doubt()
	}
	if r.delivery.RunKey == "" && key != "" {
		r.delivery.RunKey = key
		r.introduced = false
	}
	if r.delivery.TrackedRun == "" {
		if err := r.findOrCreate(ctx); err != nil {
			return err
		}
		r.delivery.TrackedRun = r.tracked.ID
		r.delivery.URL = fmt.Sprintf("%s/#/experiments/%s/runs/%s", r.outbox.opts.Server.Address(), r.tracked.ExperimentID, r.tracked.ID)
		if err := r.outbox.opts.Store.PutDelivery(ctx, r.delivery); err != nil {
			return err
		}
	}
	if r.curves != nil {
		return nil
	}
	var err error
	if r.tracked, err = r.outbox.opts.Server.Run(ctx, r.delivery.TrackedRun); err != nil {
		return err
	}
	r.curves = newCurves(r.outbox.opts.Server, r.tracked)
	return nil
}

// runKey is that of the run's training, empty until it is known.
func (r *run) runKey() string {
	if r.record.Progress == nil {
		return ""
	}
	return r.record.Progress.RunKey
}

// findOrCreate looks for the run that a process has made that then died.
func (r *run) findOrCreate(ctx context.Context) error {
	o := r.outbox
	if o.experiment == "" {
		id, err := o.opts.Server.Experiment(ctx, o.opts.Experiment)
		if err != nil {
			return err
		}
		o.experiment = id
	}
	found, err := o.opts.Server.RunsTagged(ctx, o.experiment, tagRun, r.record.ID)
	if err != nil {
		return err
	}
	for _, f := range found {
		if key := f.Tags[tagTraining]; key == "" || key == r.delivery.RunKey {
			r.tracked = f
			return nil
		}
	}
	r.tracked, err = o.opts.Server.CreateRun(ctx, o.experiment, r.record.ID, r.record.CreatedAt, r.introduction().Tags)
	return err
}

// deliverCurves delivers the points that the server does not have, a page at a
// time, and notes after each how far it has got.
func (r *run) deliverCurves(ctx context.Context) error {
	for r.delivery.RunKey != "" {
		points, sequence, err := r.outbox.opts.Store.Metrics(ctx, r.delivery.RunKey, r.delivery.Sequence, pageOfPoints)
		if err != nil || len(points) == 0 {
			return err
		}
		var metrics []mlflow.Metric
		for _, p := range points {
			if !tracking.Housekeeping(p.Name) {
				metrics = append(metrics, mlflow.Metric{Key: p.Name, Value: p.Value, Time: p.Time, Step: p.Step})
			}
		}
		if err := r.log(ctx, metrics, nil); err != nil {
			return err
		}
		r.delivery.Sequence = sequence
		if err := r.outbox.opts.Store.PutDelivery(ctx, r.delivery); err != nil {
			return err
		}
		if len(points) < pageOfPoints {
			return nil
		}
	}
	return nil
}

// log logs the points that the server does not have, and tags.
func (r *run) log(ctx context.Context, metrics []mlflow.Metric, tags []mlflow.Tag) error {
	fresh, err := r.curves.missing(ctx, metrics)
	if err != nil {
		return err
	}
	if err := r.outbox.opts.Server.LogBatch(ctx, r.tracked.ID, mlflow.Batch{Metrics: fresh, Tags: tags}); err != nil {
		return err
	}
	r.curves.add(fresh)
	return nil
}

// end delivers what there is once a run has ended. All of it can be done again.
func (r *run) end(ctx context.Context) error {
	var metrics []mlflow.Metric
	if result := r.record.Result; result != nil {
		last := r.curves.lastStep()
		for name, value := range tracking.Scores(result.Evaluation) {
			metrics = append(metrics, mlflow.Metric{Key: name, Value: value, Time: *r.record.FinishedAt, Step: last})
		}
	}
	if err := r.log(ctx, metrics, r.conclusion()); err != nil {
		return err
	}
	if err := r.uploadFiles(ctx); err != nil {
		return err
	}
	if err := r.register(ctx); err != nil {
		return err
	}
	if err := r.outbox.opts.Server.EndRun(ctx, r.tracked.ID, status(r.record.State), *r.record.FinishedAt); err != nil {
		return err
	}
	r.delivery.FinishedAt = r.record.FinishedAt
	return r.outbox.opts.Store.PutDelivery(ctx, r.delivery)
}

func status(state captioner.RunState) mlflow.Status {
	switch state {
	case captioner.RunCompleted, captioner.RunUnchanged:
		return mlflow.Finished
	case captioner.RunCancelled:
		return mlflow.Killed
	default:
		return mlflow.Failed
	}
}
