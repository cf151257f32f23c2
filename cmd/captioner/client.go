package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/tmaxmax/go-sse"

	"github.com/captioner/captioner"
)

// apiClient speaks to the HTTP API.
type apiClient struct {
	base string
	http *http.Client
	// streams has no limit on how long a reply takes.
	streams *http.Client
}

func newAPIClient(base string) *apiClient {
	return &apiClient{
		base: strings.TrimRight(base, "/"), http: &http.Client{Timeout: 60 * time.Second}, streams: &http.Client{},
	}
}

// problem is an application/problem+json reply.
type problem struct {
	Title  string              `json:"title"`
	Detail string              `json:"detail"`
	Code   string              `json:"code"`
	Errors []captioner.Problem `json:"errors"`
}

// do sends a request and decodes the reply into out. A problem+json reply
// comes back as an error of the kind that its status stands for.
func (c *apiClient) do(ctx context.Context, method, path, contentType string, body io.Reader, out any) error {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return usageError{fmt.Errorf("--server %s: %w", c.base, err)}
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return captioner.Wrap(captioner.Unavailable, err, "no answer from the server at %s", c.base)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return captioner.Wrap(captioner.Unavailable, err, "reading the answer of %s", c.base)
	}
	if resp.StatusCode >= 400 {
		return replyError(resp, data)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(data, out)
}

func replyError(resp *http.Response, data []byte) error {
	var p problem
	if json.Unmarshal(data, &p) != nil || p.Code == "" {
		if resp.StatusCode > http.StatusInternalServerError { // a proxy's, whose server is away
			return captioner.Errorf(captioner.Unavailable, "%s answered %s", resp.Request.URL.Host, resp.Status)
		}
		return captioner.Errorf(captioner.Internal, "%s answered %s, which is not how this API speaks", resp.Request.URL.Host, resp.Status)
	}
	kind := captioner.Internal
	switch {
	case resp.StatusCode == http.StatusNotFound:
		kind = captioner.NotFound
	case resp.StatusCode == http.StatusConflict:
		kind = captioner.Conflict
	case resp.StatusCode == http.StatusServiceUnavailable:
		kind = captioner.Unavailable
	case resp.StatusCode < 500:
		kind = captioner.Invalid
	}
	message := p.Detail
	if message == "" {
		message = p.Title
	}
	return &captioner.Error{Kind: kind, Code: p.Code, Message: message, Problems: p.Errors}
}

// running reports whether a server answers. A refused connection is no error.
func (c *apiClient) running(ctx context.Context) (bool, error) {
	err := c.do(ctx, http.MethodGet, "/health", "", nil, nil)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return false, nil
	}
	return err == nil, err
}

// Start starts a run and returns it.
func (c *apiClient) Start(ctx context.Context, cfg captioner.Config) (captioner.Run, error) {
	body, err := json.Marshal(cfg)
	if err != nil {
		return captioner.Run{}, err
	}
	var run captioner.Run
	err = c.do(ctx, http.MethodPost, "/runs", "application/json", bytes.NewReader(body), &run)
	return run, err
}

// Resume starts a run that goes on from another, with what differs, and returns
// it.
func (c *apiClient) Resume(ctx context.Context, id string, changes []byte) (captioner.Run, error) {
	var run captioner.Run
	err := c.do(ctx, http.MethodPost, "/runs?resume="+url.QueryEscape(id), "application/json", bytes.NewReader(changes), &run)
	return run, err
}

// Describe returns where a run stands.
func (c *apiClient) Describe(ctx context.Context, id string) (captioner.Run, error) {
	var run captioner.Run
	err := c.do(ctx, http.MethodGet, "/runs/"+url.PathEscape(id), "", nil, &run)
	return run, err
}

// Cancel asks a run to stop.
func (c *apiClient) Cancel(ctx context.Context, id string) error {
	return c.do(ctx, http.MethodPost, "/runs/"+url.PathEscape(id)+"/cancel", "", nil, nil)
}

// streamEvent is one event of a run's stream.
type streamEvent struct {
	Name string          `json:"event"`
	ID   string          `json:"id,omitempty"`
	Data json.RawMessage `json:"data"`
}

const (
	// streamSilence is how long a stream may say nothing: the server writes
	// every 15 seconds.
	streamSilence = 45 * time.Second
	// maxEventBytes bounds an event; the server sends some 100 KB at most.
	maxEventBytes = 16 << 20
)

// Events calls handle for each event of the run after the one with the ID, "" for
// all of them, until the stream ends, which is no error, or handle fails.
func (c *apiClient) Events(ctx context.Context, id, after string, handle func(streamEvent) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+"/runs/"+url.PathEscape(id)+"/events", nil)
	if err != nil {
		return usageError{fmt.Errorf("--server %s: %w", c.base, err)}
	}
	req.Header.Set("Accept", "text/event-stream")
	if after != "" {
		req.Header.Set("Last-Event-ID", after)
	}
	silence := time.AfterFunc(streamSilence, cancel)
	defer silence.Stop()
	resp, err := c.streams.Do(req)
	if err != nil {
		return captioner.Wrap(captioner.Unavailable, err, "no answer from the server at %s", c.base)
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 400 {
		data, _ := io.ReadAll(resp.Body) // what is missing is no problem+json
		return replyError(resp, data)
	}
	heard := alarmed{resp.Body, silence}
	for e, err := range sse.Read(heard, &sse.ReadConfig{MaxEventSize: maxEventBytes}) {
		if err != nil {
			return captioner.Wrap(captioner.Unavailable, err, "the connection to %s broke off", c.base)
		}
		if err := handle(streamEvent{Name: e.Type, ID: e.LastEventID, Data: json.RawMessage(e.Data)}); err != nil {
			return err
		}
	}
	return nil
}

// alarmed puts off an alarm for as long as there is something to read.
type alarmed struct {
	io.Reader
	silence *time.Timer
}

func (a alarmed) Read(p []byte) (int, error) {
	a.silence.Reset(streamSilence)
	return a.Reader.Read(p)
}

// List returns the newest runs.
func (c *apiClient) List(ctx context.Context) ([]captioner.Run, error) {
	var reply struct {
		Runs []captioner.Run `json:"runs"`
	}
	err := c.do(ctx, http.MethodGet, "/runs", "", nil, &reply)
	return reply.Runs, err
}

// CreateSchedule makes a schedule and returns it as it is kept.
func (c *apiClient) CreateSchedule(ctx context.Context, s captioner.Schedule) (captioner.Schedule, error) {
	body, err := json.Marshal(s)
	if err != nil {
		return captioner.Schedule{}, err
	}
	var made captioner.Schedule
	err = c.do(ctx, http.MethodPost, "/schedules", "application/json", bytes.NewReader(body), &made)
	return made, err
}

// Schedules lists the schedules by name.
func (c *apiClient) Schedules(ctx context.Context) ([]captioner.Schedule, error) {
	var reply struct {
		Schedules []captioner.Schedule `json:"schedules"`
	}
	err := c.do(ctx, http.MethodGet, "/schedules", "", nil, &reply)
	return reply.Schedules, err
}

// Schedule returns a schedule with its configuration and its last runs.
func (c *apiClient) Schedule(ctx context.Context, name string) (captioner.Schedule, error) {
	var s captioner.Schedule
	err := c.do(ctx, http.MethodGet, "/schedules/"+url.PathEscape(name), "", nil, &s)
	return s, err
}

// PauseSchedule pauses a schedule, or resumes it.
func (c *apiClient) PauseSchedule(ctx context.Context, name string, paused bool) (captioner.Schedule, error) {
	action := "/resume"
	if paused {
		action = "/pause"
	}
	var s captioner.Schedule
	err := c.do(ctx, http.MethodPost, "/schedules/"+url.PathEscape(name)+action, "", nil, &s)
	return s, err
}

// TriggerSchedule starts a run of a schedule now and returns it.
func (c *apiClient) TriggerSchedule(ctx context.Context, name string, force bool) (captioner.Run, error) {
	path := "/schedules/" + url.PathEscape(name) + "/trigger"
	if force {
		path += "?force=1"
	}
	var run captioner.Run
	err := c.do(ctx, http.MethodPost, path, "", nil, &run)
	return run, err
}

// DeleteSchedule deletes a schedule.
func (c *apiClient) DeleteSchedule(ctx context.Context, name string) error {
	return c.do(ctx, http.MethodDelete, "/schedules/"+url.PathEscape(name), "", nil, nil)
}

// prediction is the reply of POST /predict.
type prediction struct {
	File          string                 `json:"file,omitempty"`
	Caption       string                 `json:"caption"`
	Algorithm     string                 `json:"algorithm"`
	Seconds       float64                `json:"processing_time_seconds"`
	ImageSize     []int                  `json:"image_size"`
	ModelVersion  captioner.Digest       `json:"model_version"`
	Captions      []captioner.Hypothesis `json:"captions"`
	WhatWentWrong string                 `json:"error,omitempty"`
}

// Predict captions one picture; fields are those of the form besides the file.
func (c *apiClient) Predict(ctx context.Context, name string, data []byte, fields map[string]string) (prediction, error) {
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	for field, value := range fields {
		if err := form.WriteField(field, value); err != nil {
			return prediction{}, err
		}
	}
	part, err := form.CreateFormFile("file", filepath.Base(name))
	if err != nil {
		return prediction{}, err
	}
	if _, err := part.Write(data); err != nil {
		return prediction{}, err
	}
	if err := form.Close(); err != nil {
		return prediction{}, err
	}
	var reply prediction
	err = c.do(ctx, http.MethodPost, "/predict", form.FormDataContentType(), &body, &reply)
	return reply, err
}
