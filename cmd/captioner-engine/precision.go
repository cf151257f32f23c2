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

// fit is train.Run on a processor that can do what the configuration asks for.
func fit(ctx context.Context, req captioner.TrainRequest, stop <-chan struct{}, progress func(captioner.TrainEvent)) (captioner.TrainResult, error) {
	if err := usable(ctx, req.Config.Training.Precision); err != nil {
		return captioner.TrainResult{}, err
	}
	return train.Run(ctx, req, stop, progress)
}

// usable says what keeps the processor from computing in a precision. Bfloat16 is
// tried first, in a child of this process, which an unknown instruction would end;
// float16 is for GPUs, whose libraries end no process.
func usable(ctx context.Context, precision string) error {
	if precision != captioner.PrecisionBfloat16 {
		return nil
	}
	if err := tf.Supports(precision); err != nil {
		return err
	}
	return probe(ctx, precision)
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
