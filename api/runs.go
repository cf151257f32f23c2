package api

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/captioner/captioner"
)

const (
	// maxConfigBytes bounds a configuration; the longest sensible one is 4 KiB.
	maxConfigBytes = 1 << 20
	// maxKeyLength bounds an Idempotency-Key.
	maxKeyLength = 255
	defaultLimit = 50
	maxLimit     = 1000
)

var errNoRuns = &captioner.Error{
	Kind: captioner.Unavailable, Code: "no_workflow_service",
	Message: "this server only captions; it is not connected to a workflow service that could train",
}

// startRun answers POST /runs: a configuration as JSON or YAML, of which only
// what differs from the defaults is needed. 202 with the run and its address,
// before anything has been done. With ?dry_run=1 the configuration is checked,
// here and on a worker, and nothing is started. With ?resume=RUN the run goes on
// from the training of that one, and the configuration names what differs.
func (s *Server) startRun(c *gin.Context) error {
	if s.opts.Runs == nil {
		return errNoRuns
	}
	dry, err := queryBool(c, "dry_run")
	if err != nil {
		return err
	}
	key, err := idempotencyKey(c)
	if err != nil {
		return err
	}
	if id := c.Query("resume"); id != "" {
		return s.resumeRun(c, id, key, dry)
	}
	if dry {
		if err := s.checkConfig(c.Request); err != nil {
			return err
		}
		return write(c, http.StatusOK, gin.H{"valid": true})
	}
	cfg, err := s.readConfig(c.Request, nil)
	if err != nil {
		return err
	}
	run, err := s.opts.Runs.Start(c.Request.Context(), cfg, key)
	if err != nil {
		return err
	}
	return accepted(c, run)
}

// resumeRun answers POST /runs?resume=RUN. The changes are JSON alone, and a dry
// run of them is checked here alone: data and model, which workers check, stay as
// they were.
func (s *Server) resumeRun(c *gin.Context, id, key string, dry bool) error {
	data, err := readAll(c.Request.Body, maxConfigBytes)
	if err != nil {
		return err
	}
	format, err := configFormat(c.GetHeader("Content-Type"), data)
	if err != nil {
		return err
	}
	if format != "json" {
		return &captioner.Error{Kind: captioner.Invalid, Code: "unsupported_media_type",
			Message: "send what differs from the run to go on from with Content-Type application/json"}
	}
	ctx := c.Request.Context()
	cfg, err := s.opts.Runs.Continue(ctx, id, data)
	if err != nil {
		return err
	}
	if dry {
		return write(c, http.StatusOK, gin.H{"valid": true})
	}
	run, err := s.opts.Runs.Resume(ctx, id, cfg, key)
	if err != nil {
		return err
	}
	return accepted(c, run)
}

// accepted answers with a run that has been started.
func accepted(c *gin.Context, run captioner.Run) error {
	c.Header("Location", "/runs/"+url.PathEscape(run.ID))
	return write(c, http.StatusAccepted, finite(run))
}

// listRuns answers GET /runs with the newest first, ?limit= of them.
func (s *Server) listRuns(c *gin.Context) error {
	if s.opts.Runs == nil {
		return errNoRuns
	}
	limit, err := queryLimit(c)
	if err != nil {
		return err
	}
	runs, err := s.opts.Runs.List(c.Request.Context(), limit)
	if err != nil {
		return err
	}
	list := make([]captioner.Run, 0, len(runs)) // an array in JSON, never null
	for _, run := range runs {
		list = append(list, finite(run))
	}
	return write(c, http.StatusOK, gin.H{"runs": list})
}

// showRun answers GET /runs/{id}.
func (s *Server) showRun(c *gin.Context) error {
	run, err := s.describeRun(c.Request.Context(), c.Param("id"))
	if err != nil {
		return err
	}
	return write(c, http.StatusOK, run)
}

// cancelRun answers POST /runs/{id}/cancel: 202, since a run stops at its next
// heartbeat.
func (s *Server) cancelRun(c *gin.Context) error {
	if s.opts.Runs == nil {
		return errNoRuns
	}
	ctx, id := c.Request.Context(), c.Param("id")
	if err := s.opts.Runs.Cancel(ctx, id); err != nil {
		return err
	}
	run, err := s.describeRun(ctx, id)
	if err != nil {
		return err
	}
	c.Header("Location", "/runs/"+url.PathEscape(id))
	return write(c, http.StatusAccepted, run)
}

// runConfig answers GET /runs/{id}/config with the configuration that the run
// was started with. A path that a client could not name itself is left empty.
func (s *Server) runConfig(c *gin.Context) error {
	if s.opts.Runs == nil {
		return errNoRuns
	}
	cfg, err := s.opts.Runs.Config(c.Request.Context(), c.Param("id"))
	if err != nil {
		return err
	}
	if err := hideOutside(s.opts.DataRoot, &cfg); err != nil {
		return err
	}
	return write(c, http.StatusOK, cfg)
}

func (s *Server) describeRun(ctx context.Context, id string) (captioner.Run, error) {
	if s.opts.Runs == nil {
		return captioner.Run{}, errNoRuns
	}
	run, err := s.opts.Runs.Describe(ctx, id)
	return finite(run), err
}

// finite drops metrics that JSON cannot express, the loss of a diverged
// training, and makes what is empty an array.
func finite(run captioner.Run) captioner.Run {
	run.Metrics = maps.Clone(run.Metrics)
	maps.DeleteFunc(run.Metrics, func(_ string, v float64) bool { return math.IsNaN(v) || math.IsInf(v, 0) })
	if run.Result != nil {
		result := *run.Result
		result.Evaluation = withArrays(result.Evaluation)
		if result.Decision.Reasons == nil {
			result.Decision.Reasons = []string{}
		}
		run.Result = &result
	}
	return run
}

// checkConfig reports everything that is wrong with the body's configuration,
// here and on a worker, at once: nobody has to correct it twice.
func (s *Server) checkConfig(r *http.Request) error {
	var found error
	_, err := s.readConfig(r, func(cfg captioner.Config) []captioner.Problem {
		if found = s.opts.Runs.DryRun(r.Context(), cfg); captioner.CodeOf(found) != "invalid_config" {
			return nil
		}
		return captioner.ProblemsOf(found)
	})
	if err != nil {
		return err
	}
	return found
}

// readConfig is parseConfig of the body.
func (s *Server) readConfig(r *http.Request, more func(captioner.Config) []captioner.Problem) (captioner.Config, error) {
	data, err := readAll(r.Body, maxConfigBytes)
	if err != nil {
		return captioner.Config{}, err
	}
	format, err := configFormat(r.Header.Get("Content-Type"), data)
	if err != nil {
		return captioner.Config{}, err
	}
	if len(bytes.TrimSpace(data)) == 0 {
		data, format = []byte("{}"), "json" // the defaults
	}
	return s.parseConfig(data, format, more)
}

// parseConfig reports everything that is wrong with a configuration at once,
// paths outside the data root too. With more rules, what can be read goes through
// those as well.
func (s *Server) parseConfig(data []byte, format string, more func(captioner.Config) []captioner.Problem) (captioner.Config, error) {
	var confined captioner.Config
	var failed error
	cfg, err := s.opts.ParseConfig(data, format, func(given captioner.Config) (problems []captioner.Problem) {
		confined = given
		problems, failed = confine(s.opts.DataRoot, &confined)
		if more != nil && failed == nil {
			problems = append(problems, more(confined)...)
		}
		return problems
	})
	if failed != nil {
		return cfg, failed
	}
	for i, p := range confined.Paths() {
		*cfg.Paths()[i].Path = *p.Path
	}
	return cfg, err
}

// configFormat tells JSON from YAML by the content type.
func configFormat(contentType string, data []byte) (string, error) {
	if contentType == "" && len(data) == 0 {
		return "json", nil
	}
	media, _, err := mime.ParseMediaType(contentType)
	switch {
	case err != nil:
	case media == "application/json" || strings.HasSuffix(media, "+json"):
		return "json", nil
	case media == "application/yaml" || media == "application/x-yaml" || media == "text/yaml" || media == "text/x-yaml" || strings.HasSuffix(media, "+yaml"):
		return "yaml", nil
	}
	return "", &captioner.Error{Kind: captioner.Invalid, Code: "unsupported_media_type",
		Message: "send the configuration with Content-Type application/json or application/yaml"}
}

// idempotencyKey reads the header: printable ASCII, empty for none.
func idempotencyKey(c *gin.Context) (string, error) {
	key := c.GetHeader("Idempotency-Key")
	bad := len(key) > maxKeyLength || strings.ContainsFunc(key, func(r rune) bool { return r < ' ' || r > '~' })
	if bad {
		return "", invalid("invalid_idempotency_key", "Idempotency-Key",
			fmt.Sprintf("must be at most %d characters of printable ASCII", maxKeyLength))
	}
	return key, nil
}

// queryBool reads a parameter such as ?dry_run=1; ?dry_run alone is true too.
func queryBool(c *gin.Context, name string) (bool, error) {
	text, given := c.GetQuery(name)
	if !given {
		return false, nil
	}
	if text == "" {
		return true, nil
	}
	v, err := strconv.ParseBool(text)
	if err != nil {
		return false, invalid("invalid_parameter", name, "must be 1 or 0")
	}
	return v, nil
}

// queryLimit reads ?limit=.
func queryLimit(c *gin.Context) (int, error) {
	text := c.DefaultQuery("limit", strconv.Itoa(defaultLimit))
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > maxLimit {
		return 0, invalid("invalid_parameter", "limit", fmt.Sprintf("must be a whole number from 1 to %d", maxLimit))
	}
	return n, nil
}
