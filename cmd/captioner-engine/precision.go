package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/ml/tf"
	"github.com/captioner/captioner/ml/train"
)

// fit is train.Run on a processor that can do what the configuration asks for:
// other precisions than float32 are tried first, in a child of this process,
// which an unknown instruction would end.
func fit(ctx context.Context, req captioner.TrainRequest, stop <-chan struct{}, progress func(captioner.TrainEvent)) (captioner.TrainResult, error) {
	if p := req.Config.Training.Precision; p == captioner.PrecisionBfloat16 { // float16 is for GPUs, whose libraries end no process
		if err := tf.Supports(p); err != nil {
			return captioner.TrainResult{}, err
		}
		if err := probe(ctx, p); err != nil {
			return captioner.TrainResult{}, err
		}
	}
	return train.Run(ctx, req, stop, progress)
}

// probe has a child compute in the precision; Invalid if it does not survive.
func probe(ctx context.Context, precision string) error {
	self, err := os.Executable()
	if err != nil {
		return captioner.Wrap(captioner.Internal, err, "find this program")
	}
	cmd := exec.CommandContext(ctx, self, "--probe", precision)
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return captioner.Wrap(captioner.Invalid, err,
			"training.precision %s does not work on this machine, though its processor claims so: use float32 (%s)", precision, bytes.TrimSpace(said.Bytes()))
	}
	return nil
}
