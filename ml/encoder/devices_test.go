package encoder_test

import (
	"strings"
	"testing"

	"github.com/captioner/captioner/ml/encoder"
	"github.com/captioner/captioner/ml/tf"
)

// The feature map does not depend on the device: where TensorFlow sees a GPU
// that is compared with the processor, elsewhere one half of the processor with
// the other. `make gpu-check` runs it with the products in full precision.
func TestDevicesAgree(t *testing.T) {
	devices, err := tf.Devices(2)
	if err != nil {
		t.Fatal(err)
	}
	options, other := tf.Options{Threads: 2, CPUs: 2}, "/device:CPU:1"
	for _, device := range devices {
		if _, number, ok := strings.Cut(device, "device:GPU:"); ok {
			options.CPUs, other = 0, "/device:GPU:"+number
			break
		}
	}
	t.Logf("TensorFlow sees %s; comparing /device:CPU:0 with %s", strings.Join(devices, ", "), other)
	for _, p := range encoder.Pretraineds() {
		t.Run(p.Name, func(t *testing.T) {
			near(t, "feature map", onDevice(t, p, options, other), onDevice(t, p, options, "/device:CPU:0"))
		})
	}
}

// onDevice returns the feature map of two pictures, with random weights.
func onDevice(t *testing.T, p encoder.Pretrained, options tf.Options, device string) []float32 {
	t.Helper()
	graph, in, grid := frozen(t, p)
	options.Placement = func(operation string) string {
		if operation == in.Op.Name() { // fed
			return ""
		}
		return device
	}
	session, err := tf.OpenSession(graph, options)
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	if has, err := session.Devices(); err != nil || !strings.Contains(strings.Join(has, " "), device) {
		t.Fatalf("the session has %v, error %v; want %s", has, err, device)
	}
	pixels := tf.NewTensor(tf.Uint8, 2, int64(p.Side), int64(p.Side), 3)
	defer pixels.Release()
	for i := range pixels.Bytes() {
		pixels.Bytes()[i] = byte(i * i >> 8)
	}
	results, err := session.Run(tf.Feeds{in: pixels}, []tf.Output{grid})
	if err != nil {
		t.Fatal(err)
	}
	defer tf.ReleaseAll(results)
	return append([]float32(nil), results[0].Float32s()...)
}
