package api

import (
	"context"
	"fmt"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/ml/dataset"
)

var errNoData = &captioner.Error{
	Kind: captioner.NotFound, Code: "no_data", Message: "the run has not prepared its data",
}

// runData answers GET /runs/{id}/data with what is in the run's data set: sizes
// of the splits, lengths of captions, words, and what was left out and why.
// ?limit= bounds the words and the quarantined items that are listed; the
// counts are of all. No caption is shown.
func (s *Server) runData(c *gin.Context) error {
	limit, err := queryLimit(c)
	if err != nil {
		return err
	}
	ctx := c.Request.Context()
	run, err := s.runs.describe(ctx, c.Param("id"))
	if err != nil {
		return err
	}
	if run.Dataset == "" {
		return errNoData
	}

	etag := fmt.Sprintf(`"%s-%d"`, run.Dataset, limit)
	c.Header("ETag", etag)
	c.Header("Cache-Control", "private, no-cache") // the set may still lose pictures
	if c.GetHeader("If-None-Match") == etag {
		c.Status(http.StatusNotModified)
		return nil
	}
	summary, err := s.data.of(ctx, run.Dataset)
	if err != nil {
		return err
	}
	words, items := &summary.Vocabulary.Words, &summary.Quarantine.Items
	*words = (*words)[:min(limit, len(*words))]
	*items = (*items)[:min(limit, len(*items))]
	return write(c, http.StatusOK, struct {
		Dataset captioner.Digest `json:"dataset"`
		dataset.Summary
	}{run.Dataset, summary})
}

// dataSummaries counts data sets, one at a time since a large one fills some
// memory while it is read, and keeps the latest.
type dataSummaries struct {
	blobs BlobReader
	gate  *gate
	// digest and summary are the latest, for whoever is past the gate.
	digest  captioner.Digest
	summary dataset.Summary
}

func newDataSummaries(blobs BlobReader) *dataSummaries {
	return &dataSummaries{blobs: blobs, gate: newGate(1, 0)}
}

// of returns the summary of a data set, whose slices nobody changes.
func (d *dataSummaries) of(ctx context.Context, digest captioner.Digest) (dataset.Summary, error) {
	back, err := d.gate.take(ctx)
	if err != nil {
		return dataset.Summary{}, err
	}
	defer back()
	if d.digest != digest {
		ds, err := d.read(ctx, digest)
		if err != nil {
			return dataset.Summary{}, err
		}
		d.digest, d.summary = digest, dataset.Summarise(ds)
	}
	return d.summary, nil
}

// read loads the data set.
func (d *dataSummaries) read(ctx context.Context, digest captioner.Digest) (ds captioner.Dataset, err error) {
	err = captioner.ReadJSON(ctx, d.blobs, digest, &ds)
	if captioner.KindOf(err) == captioner.NotFound {
		return ds, errNoData
	}
	return ds, err
}
