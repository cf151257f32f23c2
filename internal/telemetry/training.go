package telemetry

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/captioner/captioner"
)

// trainingMetrics are the gauges of the trainings that run in this process, by
// run. They disappear with the training; the database has the curves.
type trainingMetrics struct {
	step, steps, epoch, epochs, loss, validationLoss, rate, left, stalled *prometheus.GaugeVec
}

func newTrainingMetrics() trainingMetrics {
	gauge := func(name, help string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "captioner_training_" + name, Help: help}, []string{"run"})
	}
	return trainingMetrics{
		step:           gauge("step", "Last step of a training that runs."),
		steps:          gauge("steps", "Steps that a training that runs will take, unless it stops early."),
		epoch:          gauge("epoch", "Epoch of a training that runs, from 1."),
		epochs:         gauge("epochs", "Epochs that a training that runs will take, unless it stops early."),
		loss:           gauge("loss_nats", "Mean training loss of the last second in nats per token."),
		validationLoss: gauge("validation_loss_nats", "Validation loss after the last epoch in nats per token."),
		rate:           gauge("images_per_second", "Pictures trained on per second."),
		left:           gauge("remaining_seconds", "Estimated time to the end of a training that runs."),
		stalled:        gauge("stalled", "1 for a training that runs and has taken no step for much longer than its steps take, else 0."),
	}
}

func (t trainingMetrics) all() []*prometheus.GaugeVec {
	return []*prometheus.GaugeVec{t.step, t.steps, t.epoch, t.epochs, t.loss, t.validationLoss, t.rate, t.left, t.stalled}
}

func (t trainingMetrics) collectors() (list []prometheus.Collector) {
	for _, gauge := range t.all() {
		list = append(list, gauge)
	}
	return list
}

// Training says how far a run's training has come.
func (m *Metrics) Training(runID string, s captioner.TrainStep) {
	t := m.training
	t.step.WithLabelValues(runID).Set(float64(s.Step))
	t.steps.WithLabelValues(runID).Set(float64(s.Steps))
	t.epoch.WithLabelValues(runID).Set(float64(s.Epoch))
	t.epochs.WithLabelValues(runID).Set(float64(s.Epochs))
	t.loss.WithLabelValues(runID).Set(s.Loss)
	t.rate.WithLabelValues(runID).Set(s.ImagesPerSecond)
	t.left.WithLabelValues(runID).Set(s.SecondsLeft)
}

// Validated says how good a run's model was after an epoch.
func (m *Metrics) Validated(runID string, e captioner.TrainEpoch) {
	m.training.validationLoss.WithLabelValues(runID).Set(e.ValidationLoss)
}

// TrainingStalled says whether a run's training gets nowhere now.
func (m *Metrics) TrainingStalled(runID string, stalled bool) {
	value := 0.0
	if stalled {
		value = 1
	}
	m.training.stalled.WithLabelValues(runID).Set(value)
}

// TrainingEnded forgets a run's training.
func (m *Metrics) TrainingEnded(runID string) {
	for _, gauge := range m.training.all() {
		gauge.DeleteLabelValues(runID)
	}
}
