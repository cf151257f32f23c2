package api

import (
	"io"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/captioner/captioner"
)

// maxSampleBytes bounds a sample's picture: a PNG of the few pixels that a
// model sees.
const maxSampleBytes = 32 << 20

// samplePicture answers GET /runs/{id}/samples/{image} with the picture of a
// sample caption as the model sees it. The name is looked up among the run's
// samples and never used as a path.
func (s *Server) samplePicture(c *gin.Context) error {
	ctx := c.Request.Context()
	run, err := s.runs.describe(ctx, c.Param("id"))
	if err != nil {
		return err
	}
	digest, err := s.opts.Progress.SamplePicture(ctx, run.RunKey, c.Param("image"))
	if captioner.KindOf(err) == captioner.NotFound {
		return captioner.Errorf(captioner.NotFound, "the run has no sample caption of a picture with this name")
	}
	if err != nil {
		return err
	}

	etag := `"` + string(digest) + `"`
	c.Header("ETag", etag)
	c.Header("Cache-Control", "private, max-age=3600")
	if c.GetHeader("If-None-Match") == etag {
		c.Status(http.StatusNotModified)
		return nil
	}
	blob, err := s.opts.Blobs.Open(ctx, digest)
	if err != nil {
		return err
	}
	defer blob.Close()
	data, err := io.ReadAll(io.LimitReader(blob, maxSampleBytes))
	if err != nil {
		return err
	}
	c.Data(http.StatusOK, "image/png", data)
	return nil
}
