package doctor

import (
	"context"
	"errors"
	"log/slog"
	"net"

	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/store"
	"github.com/captioner/captioner/internal/telemetry"
)

// Database checks that a database answers, is captioner's and has a schema that
// this program knows. An older one is brought up to date at the start.
func Database(address string) Check {
	return Check{"database", func(ctx context.Context) Result {
		status, err := store.MigrationStatus(ctx, address)
		switch {
		case err != nil:
			return Fail(err)
		case status.Version == 0:
			return Fine("empty: the schema is made at the start")
		case status.Pending() > 0:
			return Fine("schema %d of %d: the start brings it up to date", status.Version, status.Latest)
		}
		return Fine("schema %d", status.Version)
	}}
}

// Temporal checks that a server answers and has the namespace.
func Temporal(address, namespace string) Check {
	return Check{"Temporal", func(ctx context.Context) Result {
		ctx, cancel := context.WithTimeout(ctx, 2*askTimeout)
		defer cancel()
		c, err := client.DialContext(ctx, client.Options{
			HostPort: address, Namespace: namespace, Logger: log.NewStructuredLogger(slog.New(slog.DiscardHandler)),
		})
		if err != nil {
			return Fail(captioner.Wrap(captioner.Unavailable, err, "no Temporal server answers at %s (--temporal-address)", address))
		}
		defer c.Close()
		// Work for a namespace that is missing would be asked for in vain, for ever.
		_, err = c.WorkflowService().DescribeNamespace(ctx, &workflowservice.DescribeNamespaceRequest{Namespace: namespace})
		var missing *serviceerror.NamespaceNotFound
		var denied *serviceerror.PermissionDenied
		switch {
		case errors.As(err, &missing):
			return Fail(captioner.Errorf(captioner.Invalid,
				"the Temporal server at %s has no namespace %q: make it with `temporal operator namespace create`, or name another with --temporal-namespace", address, namespace))
		case errors.As(err, &denied): // to look, which is not to work
			return Warn("%s answers, and does not say whether it has namespace %q", address, namespace)
		case err != nil:
			return Fail(captioner.Wrap(captioner.Unavailable, err, "the Temporal server at %s does not tell of namespace %q (--temporal-namespace)", address, namespace))
		}
		return Fine("%s has namespace %q", address, namespace)
	}}
}

// Collector checks that something listens where traces go. Without it they are
// lost, and captioner works.
func Collector(getenv func(string) string) Check {
	return Check{"OTLP endpoint", func(ctx context.Context) Result {
		address, err := telemetry.Endpoint(getenv)
		switch {
		case err != nil:
			return Fail(captioner.Wrap(captioner.Invalid, err, "traces cannot be sent"))
		case address == "":
			return Fine("none: traces do not leave the machine")
		}
		dialer := net.Dialer{Timeout: askTimeout}
		conn, err := dialer.DialContext(ctx, "tcp", address)
		if err != nil {
			return Warn("nobody listens at %s: traces are lost (OTEL_EXPORTER_OTLP_ENDPOINT)", address)
		}
		_ = conn.Close()
		return Fine("%s", address)
	}}
}
