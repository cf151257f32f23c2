package api

import (
	"context"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/captioner/captioner"
)

var errNoRegistry = &captioner.Error{
	Kind: captioner.NotFound, Code: "no_registry",
	Message: "this server serves one bundle and has no registry of models; see /model/info",
}

// model is a version as the API shows it.
type model struct {
	captioner.ModelVersion
	// Short is the version's short name; Live says that the alias points at it.
	Short string `json:"short"`
	Live  bool   `json:"live"`
}

// listModels answers GET /models with the newest first, ?limit= of them, and
// the alias that names the live one.
func (s *Server) listModels(c *gin.Context) error {
	if s.opts.Models == nil {
		return errNoRegistry
	}
	limit, err := queryLimit(c)
	if err != nil {
		return err
	}
	ctx := c.Request.Context()
	versions, err := s.opts.Models.ModelVersions(ctx, limit)
	if err != nil {
		return err
	}
	live, err := s.liveAlias(ctx)
	if err != nil {
		return err
	}
	models := make([]model, 0, len(versions)) // an array in JSON, never null
	for _, v := range versions {
		models = append(models, newModel(v, live))
	}
	return write(c, http.StatusOK, gin.H{"models": models, "production": live})
}

// showModel answers GET /models/{version} for a digest or the beginning of one.
func (s *Server) showModel(c *gin.Context) error {
	if s.opts.Models == nil {
		return errNoRegistry
	}
	ctx := c.Request.Context()
	version, err := s.opts.Models.ModelVersion(ctx, c.Param("version"))
	if err != nil {
		return err
	}
	live, err := s.liveAlias(ctx)
	if err != nil {
		return err
	}
	return write(c, http.StatusOK, newModel(version, live))
}

// pinModel answers POST /models/{version}/pin and …/unpin with the version as it
// is then.
func (s *Server) pinModel(pinned bool) func(*gin.Context) error {
	return func(c *gin.Context) error {
		if s.opts.Models == nil {
			return errNoRegistry
		}
		ctx := c.Request.Context()
		version, err := s.opts.Models.ModelVersion(ctx, c.Param("version"))
		if err != nil {
			return err
		}
		if err := s.opts.Models.PinVersion(ctx, version.Version, pinned); err != nil {
			return err
		}
		return s.showModel(c)
	}
}

func newModel(v captioner.ModelVersion, live *captioner.Alias) model {
	v.Evaluation = withArrays(v.Evaluation)
	return model{ModelVersion: v, Short: v.Version.Short(), Live: live != nil && live.Version == v.Version}
}

// withArrays makes what is empty an array in JSON, never null.
func withArrays(e captioner.Evaluation) captioner.Evaluation {
	if e.Scores == nil {
		e.Scores = []captioner.Scores{}
	}
	if e.Samples == nil {
		e.Samples = []captioner.SampleCaption{}
	}
	return e
}

// liveAlias returns nil when no version was ever live.
func (s *Server) liveAlias(ctx context.Context) (*captioner.Alias, error) {
	alias, err := s.opts.Models.Alias(ctx, captioner.Production)
	if captioner.KindOf(err) == captioner.NotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &alias, nil
}
