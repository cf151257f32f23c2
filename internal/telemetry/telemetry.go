// Package telemetry sets up what the program tells its operators: logs through
// slog, traces through OpenTelemetry, metrics for Prometheus.
//
// Everything is made here and handed to the packages that use it; the only
// global that is set is OpenTelemetry's error handler. Traces obey the standard
// OTEL_… variables and leave the machine only when an OTLP endpoint is named in
// them. Without one nothing is recorded; every request still has a trace ID to
// show and to log.
//
// Package span makes the project's own spans, package relay carries those of
// engines to here.
package telemetry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	otelprometheus "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/captioner/captioner/internal/telemetry/span"
)

// Options say what is being observed.
type Options struct {
	// Version is the program's.
	Version string
	// Logger gets what OpenTelemetry has to complain about.
	Logger *slog.Logger
	// Getenv reads the environment. Default os.Getenv. OpenTelemetry's own
	// packages always read the process' environment.
	Getenv func(string) string
}

// Telemetry holds the providers.
type Telemetry struct {
	// Metrics are the program's own instruments.
	Metrics *Metrics
	// TracerProvider makes spans, always with a valid trace ID.
	TracerProvider trace.TracerProvider
	// Exports says whether they are sent anywhere.
	Exports bool
	// MeterProvider makes instruments that appear on Handler too.
	MeterProvider metric.MeterProvider
	// Propagator carries a trace in HTTP headers.
	Propagator propagation.TextMapPropagator

	relay    *relaying // nil where nothing is exported
	registry *prometheus.Registry
	logger   *slog.Logger
	shutdown []func(context.Context) error
}

// New makes the providers. An error says which OTEL_… variable cannot be obeyed.
func New(ctx context.Context, opts Options) (*Telemetry, error) {
	if opts.Getenv == nil {
		opts.Getenv = os.Getenv
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		opts.Logger.Warn("telemetry could not be delivered", "error", err)
	}))

	t := &Telemetry{
		registry:   prometheus.NewRegistry(),
		logger:     opts.Logger,
		Propagator: propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{}),
	}
	t.Metrics = newMetrics(t.registry, opts.Version)

	// Of several workers of a run each is an instance of the service.
	about, err := resource.New(ctx, resource.WithService(), resource.WithAttributes(
		attribute.String("service.name", "captioner"),
		attribute.String("service.version", opts.Version),
	), resource.WithTelemetrySDK(), resource.WithHost(), resource.WithFromEnv()) // the environment has the last word
	if err != nil {
		return nil, fmt.Errorf("describe this program to OpenTelemetry: %w", err)
	}
	if err := t.setTracing(ctx, opts.Getenv, about); err != nil {
		return nil, err
	}
	if err := t.setMetering(about); err != nil {
		return nil, errors.Join(err, t.Shutdown(ctx))
	}
	return t, nil
}

func (t *Telemetry) setTracing(ctx context.Context, getenv func(string) string, about *resource.Resource) error {
	options := []sdktrace.TracerProviderOption{sdktrace.WithResource(about), sdktrace.WithIDGenerator(span.IDs{})}
	if t.Exports = exports(getenv); !t.Exports {
		provider := sdktrace.NewTracerProvider(append(options, sdktrace.WithSampler(sdktrace.NeverSample()))...)
		t.TracerProvider = provider
		t.shutdown = append(t.shutdown, provider.Shutdown)
		return nil
	}

	client, err := newClient(getenv)
	if err != nil {
		return err
	}
	exporter, err := otlptrace.New(ctx, client)
	if err != nil {
		return fmt.Errorf("prepare to send traces: %w", err)
	}
	batching, err := batchOptions(getenv)
	if err != nil {
		return err
	}
	batching.Failed = otel.Handle
	if getenv("OTEL_TRACES_SAMPLER") == "" { // which the provider obeys by itself
		options = append(options, sdktrace.WithSampler(sdktrace.ParentBased(newSampler())))
	}
	provider := sdktrace.NewTracerProvider(append(options, sdktrace.WithSpanProcessor(span.NewProcessor(exporter, batching)))...)
	t.TracerProvider = provider
	t.relay = newRelaying(provider, client, t.logger)
	t.shutdown = append(t.shutdown, t.relay.shutdown, provider.Shutdown)
	return nil
}

// exports reports whether the environment asks for traces to be sent somewhere.
func exports(getenv func(string) string) bool {
	if getenv("OTEL_SDK_DISABLED") == "true" || getenv("OTEL_TRACES_EXPORTER") == "none" {
		return false
	}
	return getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != "" || getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") != ""
}

// Endpoint returns the host and port to which the environment has traces sent,
// empty for nowhere.
func Endpoint(getenv func(string) string) (string, error) {
	if !exports(getenv) {
		return "", nil
	}
	name := "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
	if getenv(name) == "" {
		name = "OTEL_EXPORTER_OTLP_ENDPOINT"
	}
	endpoint, err := url.Parse(getenv(name))
	if err != nil || endpoint.Hostname() == "" || endpoint.Scheme != "http" && endpoint.Scheme != "https" {
		return "", fmt.Errorf("%s must be an address such as http://127.0.0.1:4318", name)
	}
	port := endpoint.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[endpoint.Scheme]
	}
	return net.JoinHostPort(endpoint.Hostname(), port), nil
}

// batchOptions reads the standard variables about batches.
func batchOptions(getenv func(string) string) (span.BatchOptions, error) {
	var o span.BatchOptions
	for name, set := range map[string]func(n int){
		"OTEL_BSP_SCHEDULE_DELAY":        func(n int) { o.Delay = time.Duration(n) * time.Millisecond },
		"OTEL_BSP_EXPORT_TIMEOUT":        func(n int) { o.Timeout = time.Duration(n) * time.Millisecond },
		"OTEL_BSP_MAX_QUEUE_SIZE":        func(n int) { o.MaxWaiting = n },
		"OTEL_BSP_MAX_EXPORT_BATCH_SIZE": func(n int) { o.MaxBatch = n },
	} {
		text := getenv(name)
		if text == "" {
			continue
		}
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return o, fmt.Errorf("%s is %q: it must be a positive number", name, text)
		}
		set(n)
	}
	return o, nil
}

// newClient sends traces to the endpoint of the environment, which it reads
// itself. It does not wait for a connection.
func newClient(getenv func(string) string) (otlptrace.Client, error) {
	protocol := cmp.Or(getenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"), getenv("OTEL_EXPORTER_OTLP_PROTOCOL"), "http/protobuf")
	switch protocol {
	case "http/protobuf":
		return otlptracehttp.NewClient(), nil
	case "grpc":
		return otlptracegrpc.NewClient(), nil
	default:
		return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_PROTOCOL is %q: use http/protobuf or grpc", protocol)
	}
}

func (t *Telemetry) setMetering(about *resource.Resource) error {
	exporter, err := otelprometheus.New(otelprometheus.WithRegisterer(t.registry))
	if err != nil {
		return fmt.Errorf("offer OpenTelemetry's metrics to Prometheus: %w", err)
	}
	provider := sdkmetric.NewMeterProvider(sdkmetric.WithReader(exporter), sdkmetric.WithResource(about))
	t.MeterProvider = provider
	t.shutdown = append(t.shutdown, provider.Shutdown)
	return nil
}

// Handler answers in Prometheus' text format with all metrics.
func (t *Telemetry) Handler() http.Handler {
	return promhttp.HandlerFor(t.registry, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(t.logger.Handler(), slog.LevelError),
	})
}

// Shutdown sends what is still waiting, for as long as ctx lets it.
func (t *Telemetry) Shutdown(ctx context.Context) error {
	var errs []error
	for _, f := range t.shutdown {
		errs = append(errs, f(ctx))
	}
	t.shutdown = nil
	return errors.Join(errs...)
}
