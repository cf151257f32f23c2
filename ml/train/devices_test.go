package train

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/captioner/captioner"
)

func TestChooseDevices(t *testing.T) {
	const job = "/job:localhost/replica:0/task:0"
	cpu := []string{job + "/device:CPU:0"}
	gpus := append(slices.Clone(cpu), job+"/device:GPU:0", job+"/device:GPU:1")
	for name, test := range map[string]struct {
		names     []string
		devices   int
		precision string
		want      string
		gpu       bool
		towers    int // of a batch of three
		refused   string
	}{
		"a CPU":                    {cpu, 0, "float32", "/device:CPU:0", false, 2, ""},
		"a CPU, asked for":         {cpu, 1, "bfloat16", "/device:CPU:0", false, 2, ""},
		"a CPU in three":           {cpu, 3, "float32", "/device:CPU:0 /device:CPU:1 /device:CPU:2", false, 3, ""},
		"all GPUs":                 {gpus, 0, "float16", "/device:GPU:0 /device:GPU:1", true, 2, ""},
		"a GPU":                    {gpus, 1, "float32", "/device:GPU:0", true, 1, ""},
		"more GPUs than there are": {gpus, 3, "float32", "", false, 0, "this machine has 2"},
		"float16 without a GPU":    {cpu, 0, "float16", "", false, 0, "needs a GPU"},
		"bfloat16 on a GPU":        {gpus, 0, "bfloat16", "", false, 0, "use float16"},
	} {
		t.Run(name, func(t *testing.T) {
			c := captioner.TrainingConfig{Devices: test.devices, Precision: test.precision}
			d, err := chooseDevices(c, test.names)
			if test.refused != "" {
				if captioner.KindOf(err) != captioner.Invalid || !strings.Contains(err.Error(), test.refused) {
					t.Errorf("error %v, want an invalid one that says %q", err, test.refused)
				}
				return
			}
			if got := strings.Join(d.names, " "); err != nil || got != test.want || d.gpu != test.gpu || d.towers(3) != test.towers {
				t.Errorf("devices %q, GPU %v, %d towers, error %v", got, d.gpu, d.towers(3), err)
			}
			if o := d.options(c, 2); o.Precision != test.precision || (o.Placement != nil) != (len(d.names) > 1) || o.CPUs > 1 != (!test.gpu && len(d.names) > 1) {
				t.Errorf("options %+v", o)
			}
		})
	}
}

// A whole training on a CPU in two parts is that on the CPU, whose batches two
// towers share.
func TestTwoDevices(t *testing.T) {
	history := func(devices int) []Epoch {
		req := testRequest(t)
		req.Config.Training.Devices = devices
		var report Report
		if err := json.Unmarshal([]byte(straight(t, req)[trainingFile]), &report); err != nil {
			t.Fatal(err)
		}
		return report.History
	}
	one, two := history(0), history(2)
	for i := range one {
		if math.Abs(one[i].TrainLoss-two[i].TrainLoss) > 1e-5 || math.Abs(one[i].ValidationLoss-two[i].ValidationLoss) > 1e-5 {
			t.Errorf("epoch %d: %+v on two devices, %+v on one", i+1, two[i], one[i])
		}
	}
}

// Gradients of several batches make a step: there are fewer of them, each as
// long as batches times pictures.
func TestAccumulation(t *testing.T) {
	req := testRequest(t)
	c := &req.Config.Training
	c.Steps, c.Epochs, c.BatchSize, c.AccumulationSteps, c.LearningRate = 0, 12, 2, 3, 2e-2
	result, err := Run(t.Context(), req, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if result.Steps != 12*4 { // 27 pictures, 6 a step
		t.Errorf("%d steps, want 48", result.Steps)
	}
	if result.BestValidationLoss > 0.8 {
		t.Errorf("validation loss %.3f: little was learned", result.BestValidationLoss)
	}
}
