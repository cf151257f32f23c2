package train

import (
	"fmt"

	"github.com/captioner/captioner"
)

// maxSamples bounds the samples, whose cost comes with every epoch.
const maxSamples = 32

// samples captions the first validation pictures with the weights as they are
// now, for people to watch the model learn. Nothing in it reaches the result.
func (r *run) samples() ([]captioner.TrainSample, error) {
	shown := r.data.validation[:min(r.req.Config.Evaluation.SampleCaptions, maxSamples, len(r.data.validation))]
	if len(shown) == 0 {
		return nil, nil
	}
	var pixels []byte
	for _, e := range shown {
		pixels = append(pixels, e.pixels...)
	}
	captions, err := r.graph.Greedy(r.session, pixels, len(shown))
	if err != nil {
		return nil, fmt.Errorf("sample captions: %w", err)
	}
	samples := make([]captioner.TrainSample, len(shown))
	for i, e := range shown {
		samples[i] = captioner.TrainSample{Image: e.image, Caption: r.data.vocabulary.Decode(captions[i]), Reference: e.reference}
	}
	return samples, nil
}
