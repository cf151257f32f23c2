package mlflow

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"path"
	"strings"

	"github.com/captioner/captioner"
)

// Upload stores size bytes as an artifact of the run, in place of one with that
// name, through the server's proxy. A server that does not serve artifacts, but
// expects its clients to write them where they lie, is NotFound.
func (c *Client) Upload(ctx context.Context, run Run, name string, size int64, content io.Reader) error {
	root, err := url.Parse(run.ArtifactURI)
	if err != nil || root.Scheme != "mlflow-artifacts" {
		return captioner.Errorf(captioner.NotFound, "MLflow does not serve the artifacts of this run: "+
			"start it with --serve-artifacts, and use an experiment that was made then")
	}
	ctx, cancel := context.WithTimeout(ctx, uploadTimeout)
	defer cancel()
	target := c.base.JoinPath("api/2.0/mlflow-artifacts/artifacts", path.Join(strings.TrimPrefix(root.Path, "/"), name))
	if size == 0 {
		content = http.NoBody
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPut, target.String(), content)
	if err != nil {
		return captioner.Wrap(captioner.Internal, err, "make a request to MLflow")
	}
	request.ContentLength = size
	_, err = c.do(request)
	return err
}
