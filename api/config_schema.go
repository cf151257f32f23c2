package api

import (
	"net/http"

	"github.com/gin-gonic/gin"
)

// configSchema answers GET /config/schema with the JSON Schema of what POST
// /runs takes: every field with its description, default and limits.
func (s *Server) configSchema(c *gin.Context) error {
	if s.opts.Runs == nil {
		return errNoRuns
	}
	c.Data(http.StatusOK, "application/schema+json", s.opts.ConfigSchema)
	return nil
}
