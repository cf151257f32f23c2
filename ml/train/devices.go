package train

import (
	"fmt"
	"strings"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/ml/model"
	"github.com/captioner/captioner/ml/tf"
)

// devices are what a training computes on: GPUs, or the CPU, whole or in parts.
type devices struct {
	names []string
	gpu   bool
}

// findDevices returns the devices that TrainingConfig.Devices asks for; Invalid
// where this machine has too few, or none that computes in the precision.
func findDevices(c captioner.TrainingConfig) (devices, error) {
	names, err := tf.Devices(c.Threads)
	if err != nil {
		return devices{}, err
	}
	return chooseDevices(c, names)
}

// chooseDevices chooses from TensorFlow's names of the devices that there are.
func chooseDevices(c captioner.TrainingConfig, names []string) (devices, error) {
	var gpus []string
	for _, name := range names {
		if i := strings.LastIndex(name, "/device:GPU:"); i >= 0 {
			gpus = append(gpus, name[i:])
		}
	}
	d := devices{names: gpus, gpu: len(gpus) > 0}
	switch {
	case c.Devices > len(gpus) && d.gpu:
		return d, captioner.Errorf(captioner.Invalid, "training.devices asks for %d GPUs, and this machine has %d", c.Devices, len(gpus))
	case c.Precision == captioner.PrecisionFloat16 && !d.gpu:
		return d, captioner.Errorf(captioner.Invalid, "training.precision float16 needs a GPU, and TensorFlow sees none here: use float32 or bfloat16")
	case c.Precision == captioner.PrecisionBfloat16 && d.gpu:
		return d, captioner.Errorf(captioner.Invalid, "training.precision bfloat16 is for processors, and this machine trains on a GPU: use float16")
	case c.Devices > 0 && d.gpu:
		d.names = gpus[:c.Devices]
	case !d.gpu:
		for i := range max(1, c.Devices) {
			d.names = append(d.names, fmt.Sprintf("/device:CPU:%d", i))
		}
	}
	return d, nil
}

// towers returns how many towers share a batch: one for each GPU or part of the
// CPU; for the CPU as a whole as many as suit it best.
func (d devices) towers(batch int) int {
	if d.gpu || len(d.names) > 1 {
		return min(len(d.names), batch)
	}
	return model.Towers(batch)
}

// options are those of the session that trains.
func (d devices) options(c captioner.TrainingConfig, threads int) tf.Options {
	o := tf.Options{Threads: threads, Precision: c.Precision}
	if len(d.names) > 1 {
		o.Placement = model.Placement(d.names)
		if !d.gpu {
			o.CPUs = len(d.names)
		}
	}
	return o
}
