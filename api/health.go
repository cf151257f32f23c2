package api

import (
	"math"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/captioner/captioner"
)

// healthReply is the reply to GET /health.
type healthReply struct {
	Status            string           `json:"status"`
	ModelLoaded       bool             `json:"model_loaded"`
	ModelVersion      captioner.Digest `json:"model_version,omitempty"`
	StartupTime       time.Time        `json:"startup_time"`
	UptimeSeconds     float64          `json:"uptime_seconds"`
	TensorFlowVersion string           `json:"tensorflow_version,omitempty"`
}

// health answers GET /health: 200 as long as the process can answer at all.
func (s *Server) health(c *gin.Context) error {
	info := s.opts.Captioner.Model()
	return write(c, http.StatusOK, healthReply{
		Status:            "healthy",
		ModelLoaded:       s.opts.Captioner.State() == "ready",
		ModelVersion:      info.Version,
		StartupTime:       s.started.UTC().Truncate(time.Millisecond),
		UptimeSeconds:     math.Round(time.Since(s.started).Seconds()*1000) / 1000,
		TensorFlowVersion: info.TensorFlow,
	})
}
