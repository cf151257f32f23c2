package api

import (
	"net/http"
	"slices"

	"github.com/gin-gonic/gin"

	"github.com/captioner/captioner"
)

// cors lets pages of the configured origins call the API and read its replies,
// without credentials. Whatever else a browser sends from a foreign page is
// refused, except for reads.
func (s *Server) cors(c *gin.Context) {
	origin := c.GetHeader("Origin")
	if len(s.opts.CORSOrigins) > 0 {
		c.Writer.Header().Add("Vary", "Origin")
	}
	if origin != "" && s.allows(origin) {
		c.Header("Access-Control-Allow-Origin", origin)
		c.Header("Access-Control-Expose-Headers", "Location, Retry-After, X-Request-ID, X-Response-Time")
		if c.Request.Method == http.MethodOptions && c.GetHeader("Access-Control-Request-Method") != "" {
			c.Header("Access-Control-Allow-Methods", "GET, POST, DELETE")
			c.Header("Access-Control-Allow-Headers", "Content-Type, Idempotency-Key, traceparent, tracestate")
			c.Header("Access-Control-Max-Age", "600")
			c.AbortWithStatus(http.StatusNoContent)
			return
		}
	}
	if s.origins != nil {
		if err := s.origins.Check(c.Request); err != nil {
			fail(c, &captioner.Error{Kind: captioner.Invalid, Code: "cross_origin",
				Message: "pages of this origin may not call this server", Err: err})
			return
		}
	}
	c.Next()
}

func (s *Server) allows(origin string) bool {
	return slices.Contains(s.opts.CORSOrigins, "*") || slices.Contains(s.opts.CORSOrigins, origin)
}
