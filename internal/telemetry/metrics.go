package telemetry

import (
	"net/http"
	"runtime"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/captioner/captioner"
)

// durationBuckets are the upper bounds in seconds of the duration histograms.
// They are dense around the 25 ms that a greedy caption may take.
var durationBuckets = []float64{.001, .0025, .005, .01, .015, .02, .025, .03, .04, .05, .075, .1, .25, .5, 1, 2.5, 5, 10, 30}

// The kinds of engines.
const (
	engineServing = "serving"
	engineJob     = "job"
)

// Metrics are the program's own instruments. It implements the observers of
// packages api, activities and internal/serving. Its methods are safe for concurrent use.
type Metrics struct {
	requests        *prometheus.CounterVec
	durations       *prometheus.HistogramVec
	inFlight        prometheus.Gauge
	predictions     *prometheus.HistogramVec
	queued          prometheus.Gauge
	waits           *prometheus.HistogramVec
	batches         prometheus.Histogram
	model           *prometheus.GaugeVec
	swaps           prometheus.Counter
	loadFailures    prometheus.Counter
	restarts        *prometheus.CounterVec
	training        trainingMetrics
	runs            *prometheus.CounterVec
	decisions       *prometheus.CounterVec
	servedOneBefore bool
}

// newMetrics registers the instruments on r. A name that is taken already is a
// bug and panics.
func newMetrics(r prometheus.Registerer, version string) *Metrics {
	m := &Metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "captioner_http_requests_total", Help: "HTTP requests answered, by method, route and status code.",
		}, []string{"method", "route", "status"}),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "captioner_http_request_duration_seconds", Help: "Time from the first byte of a request to the end of its reply, by method and route.",
			Buckets: durationBuckets,
		}, []string{"method", "route"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "captioner_http_requests_in_flight", Help: "HTTP requests being answered now.",
		}),
		predictions: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "captioner_predict_duration_seconds", Help: "Time to caption one picture, waiting for a free place included, by algorithm.",
			Buckets: durationBuckets,
		}, []string{"algorithm"}),
		queued: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "captioner_predict_queue_requests", Help: "Requests that wait for a free place to be captioned.",
		}),
		waits: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "captioner_predict_queue_wait_seconds", Help: "Time that a request waits, for a free place in the server and for a batch to begin in the engine.",
			Buckets: durationBuckets,
		}, []string{"queue"}),
		batches: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "captioner_predict_batch_images", Help: "Pictures that the engine captioned together, for each request.",
			Buckets: []float64{1, 2, 3, 4, 6, 8, 12, 16, 24, 32},
		}),
		model: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "captioner_model_info", Help: "1 for the model version that answers.",
		}, []string{"version", "encoder", "decoder", "tensorflow"}),
		swaps: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "captioner_model_swaps_total", Help: "Times that another model version took over from a live one.",
		}),
		loadFailures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "captioner_model_load_failures_total", Help: "Attempts to load a model version that failed.",
		}),
		restarts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "captioner_engine_restarts_total", Help: "Engines that died and were replaced: serving ones, and those of jobs.",
		}, []string{"engine"}),
		training: newTrainingMetrics(),
		runs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "captioner_runs_total", Help: "Runs that have ended, by how.",
		}, []string{"state"}),
		decisions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "captioner_promotion_decisions_total", Help: "Decisions of the promotion gate in completed runs, by outcome.",
		}, []string{"outcome"}),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "captioner_build_info", Help: "1, with the version of the program and of Go.",
		ConstLabels: prometheus.Labels{"version": version, "go": runtime.Version()},
	})
	build.Set(1)
	m.preset()
	r.MustRegister(m.requests, m.durations, m.inFlight, m.predictions, m.queued, m.waits, m.batches,
		m.model, m.swaps, m.loadFailures, m.restarts, m.runs, m.decisions, build)
	r.MustRegister(m.training.collectors()...)
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// preset begins the counters whose labels are known at 0, so that the first
// event is an increase.
func (m *Metrics) preset() {
	for _, engine := range []string{engineServing, engineJob} {
		m.restarts.WithLabelValues(engine)
	}
	for _, state := range []captioner.RunState{captioner.RunCompleted, captioner.RunFailed, captioner.RunCancelled, captioner.RunUnchanged} {
		m.runs.WithLabelValues(string(state))
	}
	for _, outcome := range []captioner.Outcome{captioner.Promote, captioner.Hold, captioner.Reject} {
		m.decisions.WithLabelValues(string(outcome))
	}
}

// RequestStarted counts a request as in flight.
func (m *Metrics) RequestStarted() { m.inFlight.Inc() }

// RequestFinished counts an answered request. The route is the pattern that
// matched, such as "/runs/:id", empty for none.
func (m *Metrics) RequestFinished(method, route string, status int, took time.Duration) {
	if route == "" {
		route = "unmatched"
	}
	method = knownMethod(method)
	m.inFlight.Dec()
	m.requests.WithLabelValues(method, route, strconv.Itoa(status)).Inc()
	m.durations.WithLabelValues(method, route).Observe(took.Seconds())
}

// knownMethod keeps clients from inventing label values.
func knownMethod(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return method
	}
	return "other"
}

// Waiting changes how many requests wait for a place.
func (m *Metrics) Waiting(change int) { m.queued.Add(float64(change)) }

// Waited records how long a request has waited for a place.
func (m *Metrics) Waited(took time.Duration) {
	m.waits.WithLabelValues("server").Observe(took.Seconds())
}

// Captioned records what the engine tells of its queue.
func (m *Metrics) Captioned(reply captioner.CaptionReply) {
	m.waits.WithLabelValues("engine").Observe(reply.Waited.Seconds())
	m.batches.Observe(float64(reply.Batch))
}

// Predicted records how long a caption took.
func (m *Metrics) Predicted(algorithm string, took time.Duration) {
	m.predictions.WithLabelValues(algorithm).Observe(took.Seconds())
}

// Live says which version answers from now on. It is called from one goroutine.
func (m *Metrics) Live(info captioner.ModelInfo) {
	if m.servedOneBefore {
		m.swaps.Inc()
	}
	m.servedOneBefore = true
	m.model.Reset()
	m.model.WithLabelValues(string(info.Version), info.Encoder, info.Decoder, info.TensorFlow).Set(1)
}

// LoadFailed counts a version that could not be loaded.
func (m *Metrics) LoadFailed() { m.loadFailures.Inc() }

// EngineRestarted counts a serving engine that was replaced.
func (m *Metrics) EngineRestarted() { m.restarts.WithLabelValues(engineServing).Inc() }

// JobEngineRestarted counts a job engine that was replaced.
func (m *Metrics) JobEngineRestarted() { m.restarts.WithLabelValues(engineJob).Inc() }

// RunEnded counts a run, and the gate's decision if it came to one.
func (m *Metrics) RunEnded(state captioner.RunState, outcome captioner.Outcome) {
	m.runs.WithLabelValues(string(state)).Inc()
	if outcome != "" {
		m.decisions.WithLabelValues(string(outcome)).Inc()
	}
}
