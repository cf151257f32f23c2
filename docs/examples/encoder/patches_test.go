package encoder_test

import (
	"testing"

	"github.com/captioner/captioner"
	_ "github.com/captioner/captioner/docs/examples/encoder"
	"github.com/captioner/captioner/ml/model/modeltest"
)

func TestPatches(t *testing.T) {
	c := captioner.DefaultConfig()
	c.Model.Encoder = "patches"
	modeltest.Run(t, c)
}
