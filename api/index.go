package api

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/captioner/captioner/api/ui"
)

// index answers GET / with what this is. A person who comes with a browser is
// sent to the page.
func (s *Server) index(c *gin.Context) error {
	c.Writer.Header().Add("Vary", "Accept")
	if c.NegotiateFormat(gin.MIMEJSON, gin.MIMEHTML) == gin.MIMEHTML {
		c.Redirect(http.StatusSeeOther, ui.Prefix)
		return nil
	}
	return write(c, http.StatusOK, gin.H{"service": "captioner", "version": s.opts.Version, "status": "running", "ui": ui.Prefix})
}
