package api

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/captioner/captioner"
)

// readyReply is the reply to GET /ready.
type readyReply struct {
	Ready bool `json:"ready"`
	// Model is "none", "loading" or "ready".
	Model        string           `json:"model"`
	ModelVersion captioner.Digest `json:"model_version,omitempty"`
}

var errShuttingDown = &captioner.Error{
	Kind: captioner.Unavailable, Code: "shutting_down", Message: "the server is shutting down",
}

// ready answers GET /ready: 503 while a live version is not yet warm and once
// the server goes away. Without any version it is 200: there is nothing to wait
// for, and runs can be started.
func (s *Server) ready(c *gin.Context) error {
	if s.stopping.Load() {
		return errShuttingDown
	}
	state := s.opts.Captioner.State()
	if state == "loading" {
		return &captioner.Error{Kind: captioner.Unavailable, Code: "model_loading", Message: "the model is being loaded"}
	}
	return write(c, http.StatusOK, readyReply{Ready: true, Model: state, ModelVersion: s.opts.Captioner.Model().Version})
}
