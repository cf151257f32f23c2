package decoder_test

import (
	"testing"

	"github.com/captioner/captioner"
	_ "github.com/captioner/captioner/docs/examples/decoder"
	"github.com/captioner/captioner/ml/model/modeltest"
)

func TestAverage(t *testing.T) {
	c := captioner.DefaultConfig()
	c.Model.Decoder = "average"
	modeltest.Run(t, c)
}
