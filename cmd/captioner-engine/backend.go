package main

import (
	"context"
	"log/slog"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/engine/server"
	"github.com/captioner/captioner/ml/model"
	"github.com/captioner/captioner/ml/predict"
	"github.com/captioner/captioner/ml/tf"
	"github.com/captioner/captioner/ml/train"
)

// newBackend joins the packages that do the work to the server.
func newBackend(o options, logger *slog.Logger) server.Backend {
	return server.Backend{
		Threads: o.threads,
		Open:    func() (server.Loaded, error) { return open(o, logger) },
		ExtractFeatures: func(ctx context.Context, req captioner.ExtractRequest, progress func(int)) (captioner.ExtractResult, error) {
			return extract(ctx, o, req, progress)
		},
		Train:       fit,
		ImportModel: train.Import,
	}
}

// extract writes a shard: of a frozen encoder's output where the request names its
// weights, of pixels otherwise. Weights that do not fit are found before any
// picture is read.
func extract(ctx context.Context, o options, req captioner.ExtractRequest, progress func(int)) (result captioner.ExtractResult, err error) {
	p, err := model.NewPreprocessor(req.Model, o.threads)
	if err != nil {
		return result, err
	}
	defer p.Close()
	if req.Model.Weights == "" {
		return predict.ExtractFeatures(ctx, p, predict.Squares(p.Side()), req, progress)
	}
	if err := usable(ctx, req.Precision); err != nil {
		return result, err
	}
	e, err := model.NewExtractor(req.Model, tf.Options{Threads: o.threads, Precision: req.Precision})
	if err != nil {
		return result, err
	}
	defer e.Close()
	return predict.ExtractFeatures(ctx, p, e, req, progress)
}

// open checks the library and loads the model, if there is one to load.
func open(o options, logger *slog.Logger) (server.Loaded, error) {
	if err := tf.CheckVersion(); err != nil {
		return server.Loaded{}, err
	}
	loaded := server.Loaded{TensorFlow: tf.Version()}
	if o.model == "" {
		devices, err := tf.Devices(o.threads)
		if err != nil {
			return server.Loaded{}, err
		}
		loaded.Devices = devices
	} else {
		p, err := predict.Open(o.model, o.threads)
		if err != nil {
			return server.Loaded{}, err
		}
		// The model is in use until the process ends, which frees it.
		loaded.Captioner, loaded.Devices = p, p.Model().Devices
	}
	logger.Info("engine ready", "version", version, "tensorflow", loaded.TensorFlow,
		"devices", loaded.Devices, "threads", o.threads, "model", modelName(loaded.Captioner))
	return loaded, nil
}

// modelName is the short name of the loaded version, for the log.
func modelName(c captioner.Captioner) string {
	if c == nil {
		return "none"
	}
	if v := c.Model().Version; v != "" {
		return v.Short()
	}
	return "unversioned"
}
