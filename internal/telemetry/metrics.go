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

// Metrics are the program's own instruments. It implements the observers of
// packages api and internal/serving. Its methods are safe for concurrent use.
type Metrics struct {
	requests        *prometheus.CounterVec
	durations       *prometheus.HistogramVec
	inFlight        prometheus.Gauge
	predictions     *prometheus.HistogramVec
	model           *prometheus.GaugeVec
	swaps           prometheus.Counter
	loadFailures    prometheus.Counter
	restarts        prometheus.Counter
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
		model: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "captioner_model_info", Help: "1 for the model version that answers.",
		}, []string{"version", "encoder", "decoder", "tensorflow"}),
		swaps: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "captioner_model_swaps_total", Help: "Times that another model version took over from a live one.",
		}),
		loadFailures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "captioner_model_load_failures_total", Help: "Attempts to load a model version that failed.",
		}),
		restarts: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "captioner_engine_restarts_total", Help: "Serving engines that died and were replaced.",
		}),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "captioner_build_info", Help: "1, with the version of the program and of Go.",
		ConstLabels: prometheus.Labels{"version": version, "go": runtime.Version()},
	})
	build.Set(1)
	r.MustRegister(m.requests, m.durations, m.inFlight, m.predictions, m.model, m.swaps, m.loadFailures, m.restarts, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
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

// EngineRestarted counts an engine that was replaced.
func (m *Metrics) EngineRestarted() { m.restarts.Inc() }
