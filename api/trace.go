package api

import (
	"net/http"

	"github.com/gin-gonic/gin"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

// trace makes the span of each request but a probe's, below the caller's if it
// names one, by OpenTelemetry's conventions for HTTP servers.
func (s *Server) trace(c *gin.Context) {
	if isProbe(c.Request.URL.Path) {
		return
	}
	name := c.Request.Method
	if route := c.FullPath(); route != "" {
		name += " " + route
	}
	ctx := s.opts.Propagator.Extract(c.Request.Context(), propagation.HeaderCarrier(c.Request.Header))
	ctx, request := s.tracer.Start(ctx, name, trace.WithSpanKind(trace.SpanKindServer))
	defer request.End()
	c.Request = c.Request.WithContext(ctx)
	c.Next()
	if request.IsRecording() {
		tell(request, c)
	}
}

// tell tells a span of its request and the reply.
func tell(request trace.Span, c *gin.Context) {
	status := c.Writer.Status()
	attributes := []attribute.KeyValue{
		semconv.HTTPRequestMethodKey.String(c.Request.Method),
		semconv.HTTPResponseStatusCode(status),
		semconv.URLScheme("http"),
		semconv.URLPath(c.Request.URL.Path),
		semconv.ServerAddress(c.Request.Host),
		semconv.ClientAddress(c.ClientIP()),
	}
	for _, optional := range []attribute.KeyValue{
		semconv.HTTPRoute(c.FullPath()),
		semconv.UserAgentOriginal(c.Request.UserAgent()),
		semconv.ErrorTypeKey.String(c.GetString(keyCode)),
	} {
		if optional.Value.AsString() != "" {
			attributes = append(attributes, optional)
		}
	}
	request.SetAttributes(attributes...)
	if err := c.Errors.Last(); err != nil && status >= http.StatusInternalServerError {
		request.SetStatus(codes.Error, err.Error())
	}
}
