package main

import (
	"github.com/spf13/cobra"

	"github.com/captioner/captioner/activities"
	"github.com/captioner/captioner/internal/app"
	"github.com/captioner/captioner/internal/tracking/outbox"
	"github.com/captioner/captioner/workflows"
)

// addLocalFlags adds the flags of the local mode to a command.
func addLocalFlags(cmd *cobra.Command, o *app.Options) {
	addAPIFlags(cmd, o)
	addEngineFlags(cmd, o)
	addWorkerFlags(cmd, o)
	addTrackingFlags(cmd, o)
	flags := cmd.Flags()
	flags.StringVar(&o.TemporalBinary, "temporal", "", "path of the Temporal CLI (default: temporal on the PATH, else the one that tools/temporal has built)")
	flags.StringVar(&o.TemporalIP, "temporal-ip", "127.0.0.1", "address that the Temporal server binds")
	flags.IntVar(&o.TemporalPort, "temporal-port", 7233, "port of the Temporal server")
	flags.IntVar(&o.TemporalUIPort, "temporal-ui-port", 8233, "port of the Temporal Web UI")
}

// addAPIFlags adds the flags of the HTTP API.
func addAPIFlags(cmd *cobra.Command, o *app.Options) {
	flags := cmd.Flags()
	flags.StringVar(&o.Listen, "listen", app.DefaultListen(), "address of the API; the variable PORT sets it to that port on all interfaces")
	flags.StringVar(&o.DataRoot, "data-root", "", "folder below which the paths of a configuration that arrives over HTTP must lie (default: anywhere when --listen is a loopback address, else the data folder)")
	flags.StringSliceVar(&o.CORSOrigins, "cors-origin", nil, "origins that browsers may call from (default: none)")
	flags.Int64Var(&o.MaxUploadBytes, "max-upload-bytes", 10<<20, "largest request body of /predict")
	flags.IntVar(&o.MaxPixels, "max-pixels", 50_000_000, "largest width times height of a picture")
	flags.DurationVar(&o.DrainDelay, "drain-delay", 0, "how long to go on serving once /ready says that the server goes away, for load balancers to notice; at most 15s")
	flags.IntVar(&o.ServeThreads, "serve-threads", 0, "CPU threads of the serving engine (default: all)")
}

// addEngineFlags adds what every command has that starts an engine.
func addEngineFlags(cmd *cobra.Command, o *app.Options) {
	cmd.Flags().StringVar(&o.EngineBinary, "engine", "", "path of captioner-engine (default: beside captioner, then on the PATH)")
}

// addWorkerFlags adds how a worker executes runs.
func addWorkerFlags(cmd *cobra.Command, o *app.Options) {
	cmd.Flags().DurationVar(&o.HeartbeatTimeout, "heartbeat-timeout", workflows.HeartbeatTimeout, "how long a step of a run may be silent before it is taken for dead and tried again")
	cmd.Flags().DurationVar(&o.StallAfter, "stall-after", activities.StallAfter, "shortest time without a step after which a training shows as stalled")
}

// addTrackingFlags adds where runs are delivered to.
func addTrackingFlags(cmd *cobra.Command, o *app.Options) {
	flags := cmd.Flags()
	flags.StringVar(&o.MLflowURI, "mlflow-tracking-uri", "", "address of an MLflow server to deliver runs to, such as http://127.0.0.1:5000 (default: the variable MLFLOW_TRACKING_URI; none without it)")
	flags.StringVar(&o.MLflowExperiment, "mlflow-experiment", "", "experiment that takes the runs (default: the variable MLFLOW_EXPERIMENT_NAME, else captioner)")
	flags.StringVar(&o.MLflowModel, "mlflow-model", outbox.DefaultName, "registered model that takes the versions")
	flags.StringVar(&o.PublicURL, "public-url", "", "address of the API as people reach it, for links to the page (default: that of --listen)")
}

// addClusterFlags adds the addresses of a Temporal cluster.
func addClusterFlags(cmd *cobra.Command, o *app.Options) {
	flags := cmd.Flags()
	flags.StringVar(&o.TemporalAddress, "temporal-address", "127.0.0.1:7233", "address of the Temporal server")
	flags.StringVar(&o.TemporalNamespace, "temporal-namespace", "default", "namespace of the Temporal server")
	flags.StringVar(&o.TemporalUIURL, "temporal-ui-url", "", "address of the Temporal Web UI, for links")
}

// addBundleFlag adds what serves without a cluster.
func addBundleFlag(cmd *cobra.Command, o *app.Options) {
	cmd.Flags().StringVar(&o.Bundle, "bundle", "", "bundle to serve alone: a folder, or a version in an object store, s3://BUCKET?region=REGION#VERSION")
}

// addQueueFlags adds those of a worker without an API.
func addQueueFlags(cmd *cobra.Command, o *app.Options) {
	cmd.Flags().StringVar(&o.MetricsListen, "metrics-listen", "", "address to offer /metrics on, such as 127.0.0.1:9100 (default: none)")
	cmd.Flags().StringSliceVar(&o.TaskQueues, "task-queues", nil, "task queues to work for: captioner, captioner-engine (default: both)")
}
