package modeltest_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/config"
	"github.com/captioner/captioner/ml/encoder"
	"github.com/captioner/captioner/ml/model"
	"github.com/captioner/captioner/ml/model/modeltest"
)

// TestEveryPair: every encoder with every decoder.
func TestEveryPair(t *testing.T) {
	for _, e := range encoder.Names() {
		if captioner.PretrainedShape(e).Side != 0 {
			continue // far too large to learn here; see ml/model
		}
		for _, d := range model.Decoders() {
			t.Run(e+"/"+d, func(t *testing.T) {
				c := captioner.DefaultConfig()
				c.Model.Encoder, c.Model.Decoder = e, d
				modeltest.Run(t, c)
			})
		}
	}
}

// TestNames: the control plane, which cannot ask, knows the same names.
func TestNames(t *testing.T) {
	if diff := cmp.Diff(encoder.Names(), config.Encoders); diff != "" {
		t.Errorf("encoders (-ml/encoder +internal/config):\n%s", diff)
	}
	if diff := cmp.Diff(model.Decoders(), config.Decoders); diff != "" {
		t.Errorf("decoders (-ml/model +internal/config):\n%s", diff)
	}
}
