package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"mime"
	"net/http"
	"net/url"

	"github.com/gin-gonic/gin"

	"github.com/captioner/captioner"
)

// createSchedule answers POST /schedules with 201 and the schedule. Its "config"
// is a configuration as POST /runs takes it; what is wrong with either comes back
// at once.
func (s *Server) createSchedule(c *gin.Context) error {
	if s.opts.Schedules == nil {
		return errNoRuns
	}
	schedule, err := s.readSchedule(c.Request)
	if err != nil {
		return err
	}
	made, err := s.opts.Schedules.CreateSchedule(c.Request.Context(), schedule)
	if err != nil {
		return err
	}
	c.Header("Location", "/schedules/"+url.PathEscape(made.Name))
	return s.writeSchedule(c, http.StatusCreated, made)
}

// readSchedule reads the body of POST /schedules.
func (s *Server) readSchedule(r *http.Request) (captioner.Schedule, error) {
	data, err := readAll(r.Body, maxConfigBytes)
	if err != nil {
		return captioner.Schedule{}, err
	}
	if media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); media != "application/json" {
		return captioner.Schedule{}, &captioner.Error{Kind: captioner.Invalid, Code: "unsupported_media_type",
			Message: "send the schedule with Content-Type application/json"}
	}
	body := struct {
		Name     string             `json:"name"`
		Cron     string             `json:"cron"`
		Every    captioner.Duration `json:"every"`
		TimeZone string             `json:"time_zone"`
		Jitter   captioner.Duration `json:"jitter"`
		Overlap  captioner.Overlap  `json:"overlap"`
		Force    bool               `json:"force"`
		Paused   bool               `json:"paused"`
		Config   json.RawMessage    `json:"config"`
	}{Config: json.RawMessage("{}")}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&body); err != nil {
		return captioner.Schedule{}, &captioner.Error{Kind: captioner.Invalid, Code: "malformed_body",
			Message: `the body must be a JSON object such as {"name": "nightly", "cron": "0 3 * * *", "config": {}}, with no other members than those described`, Err: err}
	}
	schedule := captioner.Schedule{
		Name: body.Name, Cron: body.Cron, Every: body.Every, TimeZone: body.TimeZone, Jitter: body.Jitter,
		Overlap: body.Overlap, Force: body.Force, Paused: body.Paused,
	}
	problems := schedule.Check()
	cfg, err := s.parseConfig(body.Config, "json", nil)
	if captioner.CodeOf(err) == "invalid_config" {
		problems = append(problems, withoutPlaces(captioner.ProblemsOf(err))...)
	} else if err != nil {
		return captioner.Schedule{}, err
	}
	if len(problems) > 0 {
		return captioner.Schedule{}, &captioner.Error{
			Kind: captioner.Invalid, Code: "invalid_schedule", Message: "the schedule is invalid", Problems: problems, Err: errors.Unwrap(err),
		}
	}
	schedule.Config = &cfg
	return schedule, nil
}

// withoutPlaces takes from problems the lines and columns, which count from
// where the configuration begins in the body.
func withoutPlaces(problems []captioner.Problem) []captioner.Problem {
	for i := range problems {
		problems[i].Line, problems[i].Column = 0, 0
	}
	return problems
}

// listSchedules answers GET /schedules.
func (s *Server) listSchedules(c *gin.Context) error {
	if s.opts.Schedules == nil {
		return errNoRuns
	}
	schedules, err := s.opts.Schedules.Schedules(c.Request.Context())
	if err != nil {
		return err
	}
	list := append([]captioner.Schedule{}, schedules...) // an array in JSON, never null
	return write(c, http.StatusOK, gin.H{"schedules": list})
}

// showSchedule answers GET /schedules/{name}.
func (s *Server) showSchedule(c *gin.Context) error {
	if s.opts.Schedules == nil {
		return errNoRuns
	}
	schedule, err := s.opts.Schedules.Schedule(c.Request.Context(), c.Param("name"))
	if err != nil {
		return err
	}
	return s.writeSchedule(c, http.StatusOK, schedule)
}

// pauseSchedule answers POST /schedules/{name}/pause.
func (s *Server) pauseSchedule(c *gin.Context) error { return s.setPaused(c, true) }

// resumeSchedule answers POST /schedules/{name}/resume.
func (s *Server) resumeSchedule(c *gin.Context) error { return s.setPaused(c, false) }

func (s *Server) setPaused(c *gin.Context, paused bool) error {
	if s.opts.Schedules == nil {
		return errNoRuns
	}
	schedule, err := s.opts.Schedules.PauseSchedule(c.Request.Context(), c.Param("name"), paused)
	if err != nil {
		return err
	}
	return s.writeSchedule(c, http.StatusOK, schedule)
}

// triggerSchedule answers POST /schedules/{name}/trigger as POST /runs does, once
// the schedule has started the run. With ?force=1 the run trains whether or not
// the data has changed.
func (s *Server) triggerSchedule(c *gin.Context) error {
	if s.opts.Schedules == nil {
		return errNoRuns
	}
	force, err := queryBool(c, "force")
	if err != nil {
		return err
	}
	run, err := s.opts.Schedules.TriggerSchedule(c.Request.Context(), c.Param("name"), force)
	if err != nil {
		return err
	}
	return accepted(c, run)
}

// deleteSchedule answers DELETE /schedules/{name}.
func (s *Server) deleteSchedule(c *gin.Context) error {
	if s.opts.Schedules == nil {
		return errNoRuns
	}
	if err := s.opts.Schedules.DeleteSchedule(c.Request.Context(), c.Param("name")); err != nil {
		return err
	}
	c.Status(http.StatusNoContent)
	return nil
}

// writeSchedule answers with a schedule. A path of its configuration that a
// client could not name itself is left empty.
func (s *Server) writeSchedule(c *gin.Context, status int, schedule captioner.Schedule) error {
	if schedule.Config != nil {
		cfg := *schedule.Config
		if err := hideOutside(s.opts.DataRoot, &cfg); err != nil {
			return err
		}
		schedule.Config = &cfg
	}
	return write(c, status, schedule)
}
