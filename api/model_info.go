package api

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/captioner/captioner"
)

// modelInfo answers GET /model/info with the version that captions now.
func (s *Server) modelInfo(c *gin.Context) error {
	info := s.opts.Captioner.Model()
	if info.Version == "" {
		if s.opts.Captioner.State() == "loading" {
			return &captioner.Error{Kind: captioner.Unavailable, Code: "model_loading", Message: "the model is being loaded"}
		}
		return &captioner.Error{Kind: captioner.Unavailable, Code: "no_model", Message: "no model version is live yet"}
	}
	if info.Devices == nil {
		info.Devices = []string{} // an array in JSON, never null
	}
	return write(c, http.StatusOK, info)
}
