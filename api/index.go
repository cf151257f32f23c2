package api

import (
	"net/http"

	"github.com/gin-gonic/gin"
)

// index answers GET / with what this is.
func (s *Server) index(c *gin.Context) error {
	return write(c, http.StatusOK, gin.H{"service": "captioner", "version": s.opts.Version, "status": "running"})
}
