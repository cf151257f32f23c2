package api

import (
	"context"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gin-gonic/gin"

	"github.com/captioner/captioner"
)

const (
	// apiActor stands in the deployment log for whoever called the API.
	apiActor = "api"
	// maxReasonBytes bounds the body that gives a reason, maxReasonLength the
	// characters of the reason itself.
	maxReasonBytes  = 16 << 10
	maxReasonLength = 1000
)

// promoteModel answers POST /models/{version}/promote once the running servers
// serve the version, or the alias is back where it was. The body may give a
// reason.
func (s *Server) promoteModel(c *gin.Context) error {
	return s.deploy(c, "promoted by hand", func(ctx context.Context, reason, key string) (captioner.Deployment, error) {
		return s.opts.Deployer.Promote(ctx, c.Param("version"), apiActor, reason, key)
	})
}

// rollBackModel answers POST /models/rollback as promoteModel does, with the
// version that was live before.
func (s *Server) rollBackModel(c *gin.Context) error {
	return s.deploy(c, "rolled back by hand", func(ctx context.Context, reason, key string) (captioner.Deployment, error) {
		return s.opts.Deployer.Rollback(ctx, apiActor, reason, key)
	})
}

// deploy runs one deployment to its end, also when the client does not wait for
// it: an alias that has moved must be confirmed or moved back.
func (s *Server) deploy(c *gin.Context, fallback string, do func(ctx context.Context, reason, key string) (captioner.Deployment, error)) error {
	if s.opts.Models == nil {
		return errNoRegistry
	}
	key, err := idempotencyKey(c)
	if err != nil {
		return err
	}
	reason, err := readReason(c.Request, fallback)
	if err != nil {
		return err
	}
	out, err := do(context.WithoutCancel(c.Request.Context()), reason, key)
	if err != nil {
		return err
	}
	return write(c, http.StatusOK, out)
}

// deploymentLog is the reply to GET /deployments.
type deploymentLog struct {
	Deployments []captioner.AliasMove `json:"deployments"`
	// RollbackTo is the version that a rollback would make live now.
	RollbackTo captioner.Digest `json:"rollback_to,omitempty"`
}

// listDeployments answers GET /deployments with the log of what was live, the
// newest first, ?limit= of it. With ?at= it is the one deployment that was in
// effect at that time, or none.
func (s *Server) listDeployments(c *gin.Context) error {
	if s.opts.Models == nil {
		return errNoRegistry
	}
	limit, err := queryLimit(c)
	if err != nil {
		return err
	}
	at, given, err := queryTime(c, "at")
	if err != nil {
		return err
	}
	ctx := c.Request.Context()
	moves, err := s.deployments(ctx, limit, at, given)
	if err != nil {
		return err
	}
	target, err := s.opts.Deployer.RollbackTarget(ctx)
	if err != nil {
		return err
	}
	return write(c, http.StatusOK, deploymentLog{moves, target})
}

func (s *Server) deployments(ctx context.Context, limit int, at time.Time, atTime bool) ([]captioner.AliasMove, error) {
	list := []captioner.AliasMove{} // an array in JSON, never null
	if !atTime {
		moves, err := s.opts.Models.AliasMoves(ctx, captioner.Production, limit)
		return append(list, moves...), err
	}
	move, err := s.opts.Models.AliasMoveAt(ctx, captioner.Production, at)
	if captioner.KindOf(err) == captioner.NotFound {
		return list, nil
	}
	return append(list, move), err
}

// readReason reads the optional body {"reason": "…"}.
func readReason(r *http.Request, fallback string) (string, error) {
	data, err := readAll(r.Body, maxReasonBytes)
	if err != nil {
		return "", err
	}
	if len(data) == 0 {
		return fallback, nil
	}
	if media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); media != "application/json" {
		return "", &captioner.Error{Kind: captioner.Invalid, Code: "unsupported_media_type",
			Message: "send the reason with Content-Type application/json"}
	}
	var body map[string]any
	if err := json.Unmarshal(data, &body); err != nil {
		return "", &captioner.Error{Kind: captioner.Invalid, Code: "malformed_body",
			Message: `the body must be a JSON object such as {"reason": "it counts better"}`, Err: err}
	}
	for name := range body {
		if name != "reason" {
			return "", invalid("invalid_parameter", name, "is not known here; the body takes reason alone")
		}
	}
	text, isText := body["reason"].(string)
	if body["reason"] != nil && !isText || utf8.RuneCountInString(text) > maxReasonLength {
		return "", invalid("invalid_parameter", "reason", fmt.Sprintf("must be a text of at most %d characters", maxReasonLength))
	}
	if text = strings.TrimSpace(text); text == "" {
		return fallback, nil
	}
	return text, nil
}

// queryTime reads a parameter such as ?at=2026-05-01T12:00:00Z.
func queryTime(c *gin.Context, name string) (at time.Time, given bool, err error) {
	text, given := c.GetQuery(name)
	if !given {
		return at, false, nil
	}
	if at, err = time.Parse(time.RFC3339, text); err != nil {
		return at, true, invalid("invalid_parameter", name, "must be a time such as 2026-05-01T12:00:00Z (in an address, write + as %2B)")
	}
	return at, true, nil
}
