// Command client calls a captioner server through a client that a public
// generator makes from the server's own description:
//
//	go tool oapi-codegen -config oapi-codegen.yaml ADDRESS/openapi.json
//	go run . ADDRESS PICTURE
//
// The client, client.go, is not kept. Package api's tests make it and run this
// program, which prints what each call has given.
package main

import (
	"bytes"
	"context"
	"fmt"
	"mime/multipart"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: client ADDRESS PICTURE")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "client:", err)
		os.Exit(1)
	}
}

func run(address, picture string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := NewClientWithResponses(address)
	if err != nil {
		return err
	}
	for _, call := range []func(context.Context, *ClientWithResponses) error{
		ready, func(ctx context.Context, c *ClientWithResponses) error { return caption(ctx, c, picture) },
		runs, models, deployments, unknown,
	} {
		if err := call(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// expected is an error unless an answer has the wanted status.
func expected(what string, answer *http.Response, want int, body []byte) error {
	if answer.StatusCode != want {
		return fmt.Errorf("%s: %s, want %d: %s", what, answer.Status, want, body)
	}
	return nil
}

func ready(ctx context.Context, c *ClientWithResponses) error {
	r, err := c.ReadyWithResponse(ctx)
	if err != nil {
		return err
	}
	if err := expected("ready", r.HTTPResponse, http.StatusOK, r.Body); err != nil {
		return err
	}
	fmt.Println("ready:", r.JSON200.Model)
	return nil
}

func caption(ctx context.Context, c *ClientWithResponses, picture string) error {
	data, err := os.ReadFile(picture)
	if err != nil {
		return err
	}
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	part, err := form.CreateFormFile("file", filepath.Base(picture))
	if err != nil {
		return err
	}
	if _, err := part.Write(data); err != nil {
		return err
	}
	if err := form.Close(); err != nil {
		return err
	}
	r, err := c.PredictWithBodyWithResponse(ctx, form.FormDataContentType(), &body)
	if err != nil {
		return err
	}
	if err := expected("predict", r.HTTPResponse, http.StatusOK, r.Body); err != nil {
		return err
	}
	fmt.Printf("predict: %s %v %s\n", r.JSON200.Caption, r.JSON200.ImageSize, r.JSON200.ModelVersion[:12])
	return nil
}

func runs(ctx context.Context, c *ClientWithResponses) error {
	steps := 200
	started, err := c.StartRunWithResponse(ctx, &StartRunParams{}, Config{Training: &TrainingConfig{Steps: &steps}})
	if err != nil {
		return err
	}
	if err := expected("start a run", started.HTTPResponse, http.StatusAccepted, started.Body); err != nil {
		return err
	}
	fmt.Println("started:", started.JSON202.Id, started.HTTPResponse.Header.Get("Location"))
	shown, err := c.ShowRunWithResponse(ctx, started.JSON202.Id)
	if err != nil {
		return err
	}
	if err := expected("show a run", shown.HTTPResponse, http.StatusOK, shown.Body); err != nil {
		return err
	}
	fmt.Println("run:", shown.JSON200.State)
	return nil
}

func models(ctx context.Context, c *ClientWithResponses) error {
	limit := 10
	r, err := c.ListModelsWithResponse(ctx, &ListModelsParams{Limit: &limit})
	if err != nil {
		return err
	}
	if err := expected("list models", r.HTTPResponse, http.StatusOK, r.Body); err != nil {
		return err
	}
	fmt.Println("models:", len(r.JSON200.Models), "live:", r.JSON200.Production.Version[:12])
	return nil
}

func deployments(ctx context.Context, c *ClientWithResponses) error {
	reason := "it counts better"
	key := "the promotion of today" // sent again with it, the request is done once
	promoted, err := c.PromoteModelWithResponse(ctx, "0123", &PromoteModelParams{IdempotencyKey: &key}, Reason{Reason: &reason})
	if err != nil {
		return err
	}
	if err := expected("promote", promoted.HTTPResponse, http.StatusOK, promoted.Body); err != nil {
		return err
	}
	fmt.Println("promoted:", promoted.JSON200.Version[:12], "confirmed:", promoted.JSON200.Confirmed)
	back, err := c.RollBackModelWithResponse(ctx, &RollBackModelParams{}, Reason{})
	if err != nil {
		return err
	}
	if err := expected("roll back", back.HTTPResponse, http.StatusOK, back.Body); err != nil {
		return err
	}
	fmt.Println("rolled back, generation", back.JSON200.Generation)
	at := time.Date(2026, 5, 1, 12, 1, 0, 0, time.UTC)
	log, err := c.ListDeploymentsWithResponse(ctx, &ListDeploymentsParams{At: &at})
	if err != nil {
		return err
	}
	if err := expected("what was live", log.HTTPResponse, http.StatusOK, log.Body); err != nil {
		return err
	}
	for _, d := range log.JSON200.Deployments {
		fmt.Println("live then:", d.Kind, "by", d.Actor)
	}
	return nil
}

func unknown(ctx context.Context, c *ClientWithResponses) error {
	r, err := c.ShowModelWithResponse(ctx, "ffffffff")
	if err != nil {
		return err
	}
	if err := expected("an unknown version", r.HTTPResponse, http.StatusNotFound, r.Body); err != nil {
		return err
	}
	fmt.Println("unknown version:", r.ApplicationproblemJSON404.Code)
	return nil
}
