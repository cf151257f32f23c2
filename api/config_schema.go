package api

import (
	"encoding/json"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/captioner/captioner"
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

// showConfig answers GET /config with every field of a configuration that names
// nothing but the preset ?preset=NAME, or nothing at all: the defaults.
func (s *Server) showConfig(c *gin.Context) error {
	if s.opts.Runs == nil {
		return errNoRuns
	}
	data, err := json.Marshal(map[string]string{"preset": c.Query("preset")})
	if err != nil {
		return captioner.Wrap(captioner.Internal, err, "write a configuration")
	}
	cfg, err := s.parseConfig(data, "json", nil)
	if err != nil {
		withoutPlaces(captioner.ProblemsOf(err)) // in a text that the client has not written
		return err
	}
	return write(c, http.StatusOK, cfg)
}
