package model

import (
	"strings"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/ml/features"
	"github.com/captioner/captioner/ml/nn"
	"github.com/captioner/captioner/ml/optim"
	"github.com/captioner/captioner/ml/tf"
)

// Batch is what one step reads. The rows are the places in the flattened
// tokens whose next word counts; padding is left out before the logits, the
// widest product of all.
type Batch struct {
	// Pixels is [B, S, S, 3] for a training step and [B, P, P, 3] for validation;
	// where the encoder is frozen, its output, as [Model.Input] says.
	Pixels []byte
	// Tokens is [B, C, T], from the start token.
	Tokens []int32
	// Rows and Targets are [R]: places in 0…B·C·T and the tokens that follow.
	Rows, Targets []int32
	// Labels is [B, A]: 1 for each auxiliary word that the captions hold.
	// Validation reads none.
	Labels []float32

	Images, Captions, Length int
}

// Training is the graph that trains a model and validates it.
type Training struct {
	// Weights are the model's, with their running averages.
	Weights *nn.Variables
	// Graph is the finished graph, to open a session with.
	Graph *tf.Graph

	model  *Model
	input  features.Layout // of what is trained on
	labels int
	adam   *optim.Adam
	step   tf.Output

	training   []side // one per tower
	loss       tf.Output
	updates    []*tf.Operation
	validation side
	total      tf.Output
	grid       tf.Output // of the validation tower, [B, L, M]
	next       tf.Output // its logits, [R, V]
}

// side is the inputs of a tower.
type side struct{ pixels, tokens, rows, targets, labels tf.Output }

// Towers returns how many towers train on a batch of that many pictures: each
// takes its share of them, and they run side by side. Two towers of
// one-threaded operations use two cores better than one tower whose operations
// are split over both: measured 1.4 times the speed. It is a constant, since
// results depend on it: batch normalisation sees a tower's share.
func Towers(batchSize int) int { return max(1, min(2, batchSize)) }

// NewTraining builds the training graph with that many towers. labels is the
// number of auxiliary words, A; with 0, or an AuxiliaryWeight of 0, there is
// no auxiliary loss.
func NewTraining(m *Model, c captioner.TrainingConfig, labels, towers int) (*Training, error) {
	s := tf.NewScope()
	g := &Training{
		model: m, input: m.Input(c), labels: labels,
		Weights: nn.NewVariables(s, c.Seed), step: tf.Placeholder(s.SubScope("step"), tf.Int64),
	}
	source, err := g.source(c.FineTuneBlocks)
	if err != nil {
		return nil, err
	}
	if c.AuxiliaryWeight == 0 {
		g.labels = 0
	}

	// The towers that are trained. All targets of the batch weigh the same,
	// whichever tower has them.
	var losses, logits, gradients, auxiliary, images tf.OutputList
	g.training = make([]side, towers)
	for i := range g.training {
		in := &g.training[i]
		t := &nn.Tower{Scope: s.SubScope("training"), Weights: source, Training: true, Seed: c.Seed + uint64(i), Step: g.step}
		t.FrozenAverages = m.pretrained != nil
		grid, x := g.forward(t, in, m.ImageSize)
		loss, gradient := nn.CrossEntropy(t.Scope, x, in.targets, c.LabelSmoothing)
		losses, logits, gradients = append(losses, loss), append(logits, x), append(gradients, gradient)
		if g.labels > 0 {
			in.labels = tf.Placeholder(t.Scope.SubScope("labels"), tf.Float, -1, int64(g.labels))
			auxiliary = append(auxiliary, nn.OccurrenceLoss(t.Sub("auxiliary"), grid, in.labels))
			images = append(images, nn.Cast(t.Scope, nn.Size(t.Scope, in.labels, 0), tf.Float))
		}
	}
	g.loss = nn.Mean(s, nn.Concat(s, 0, losses...), false, 0) // nats per token
	rows := nn.Cast(s, nn.Size(s, nn.Concat(s, 0, losses...), 0), tf.Float)
	ys, dys := logits, make([]tf.Output, 0, 2*towers)
	for _, gradient := range gradients {
		dys = append(dys, tf.Out(s, "RealDiv", nil, gradient, rows))
	}
	for i, loss := range auxiliary {
		share := tf.Out(s, "RealDiv", nil, images[i], tf.Out(s, "AddN", nil, images))
		ys, dys = append(ys, loss), append(dys, nn.Scale(s, share, float32(c.AuxiliaryWeight)))
	}

	// Their gradients and what they do.
	weights := g.Weights.Trained()
	values := make([]tf.Output, len(weights))
	for i, w := range weights {
		values[i] = w.Value
	}
	g.adam = optim.NewAdam(s, optim.Options{
		Beta1: c.Beta1, Beta2: c.Beta2, Epsilon: c.Epsilon, ClipNorm: c.ClipNorm, Share: g.share(c.EncoderLearningRateRatio),
	},
		g.Weights.All(), weights, tf.Gradients(s, ys, values, dys...))
	g.updates = append(g.adam.Updates(), g.Weights.Updates(s.SubScope("averages"))...)

	// The tower that validates with the same weights.
	v := &nn.Tower{Scope: s.SubScope("validation"), Weights: source}
	g.grid, g.next = g.forward(v, &g.validation, m.StoredSize())
	loss, _ := nn.CrossEntropy(v.Scope, g.next, g.validation.targets, 0)
	g.total = nn.Sum(v.Scope, loss, 0)

	if g.Graph, err = s.Finalize(); err != nil {
		return nil, captioner.Wrap(captioner.Internal, err, "build the training graph")
	}
	return g, nil
}

// forward adds a tower's inputs and the model up to the logits of the rows.
//
//	grid    [B, L, M]
//	logits  [R, V]
func (g *Training) forward(t *nn.Tower, in *side, pixels int) (grid, logits tf.Output) {
	m, s := g.model, t.Scope
	in.pixels = records(s.SubScope("pixels"), g.records(pixels))
	in.tokens = tf.Placeholder(s.SubScope("tokens"), tf.Int32, -1, -1, -1)
	in.rows = tf.Placeholder(s.SubScope("rows"), tf.Int32, -1)
	in.targets = tf.Placeholder(s.SubScope("targets"), tf.Int32, -1)

	grid = m.grid(t, in.pixels, g.input)
	d := t.Sub("decoder")
	x := m.decode.Words(d, in.tokens, m.decode.Memory(d, grid)) // [B·C, T, M]
	x = nn.Gather(s, nn.Reshape(s, x, -1, m.Width), in.rows)
	return grid, m.Logits(d, x)
}

// share returns the share of the learning rate that each weight gets.
func (g *Training) share(encoder float64) func(weight string) float64 {
	given := g.model.pretrained
	return func(weight string) float64 {
		if given != nil && given.values[weight] != nil {
			return encoder
		}
		return 1
	}
}

// records is the layout of a side's input, for squares of that many pixels.
func (g *Training) records(pixels int) features.Layout {
	if g.input.Type == features.Uint8 {
		return features.Pixels(pixels)
	}
	return g.input
}

// source is where the towers take their weights from: variables, and constants
// for what an encoder was given and is not fine-tuned.
func (g *Training) source(blocks int) (nn.Weights, error) {
	given := g.model.pretrained
	if given == nil || g.input.Type != features.Uint8 {
		return g.Weights, nil
	}
	last, err := given.LastBlocks(blocks)
	if err != nil {
		return nil, err
	}
	return tuned{
		Weights: g.Weights, constants: nn.NewConstants(given.values), values: given.values,
		trains: func(weight string) bool { return last(strings.TrimPrefix(weight, encoderPrefix)) },
	}, nil
}

// Initial returns the values of all variables before the first step. The
// caller releases them.
func (g *Training) Initial() map[string]*tf.Tensor {
	values := g.Weights.Initial()
	if given := g.model.pretrained; given != nil {
		for name, drawn := range values {
			if value := given.values[name]; value != nil {
				drawn.Release()
				values[name] = tf.FromFloat32(value.Float32s(), value.Shape()...)
			}
		}
	}
	for name, moment := range g.adam.Initial() {
		values[name] = moment
	}
	return values
}

// Parameters returns the number of trained numbers that the exported model
// has: all but those of the auxiliary loss.
func (g *Training) Parameters() int {
	n := 0
	for _, w := range g.Weights.Trained() {
		if !isAuxiliary(w.Name) {
			n += w.Len()
		}
	}
	return n
}

// Step takes one optimiser step, counted from 1, on a batch per tower and
// returns their mean loss in nats per token.
func (g *Training) Step(session *tf.Session, batches []Batch, step int, rate float64) (float64, error) {
	feeds := tf.Feeds{g.step: tf.FromInt64([]int64{int64(step)})}
	defer release(feeds)
	for i := range g.training {
		in, b := &g.training[i], batches[i]
		g.feed(feeds, in, b, g.model.ImageSize)
		if g.labels > 0 {
			feeds[in.labels] = tf.FromFloat32(b.Labels, int64(b.Images), int64(g.labels))
		}
	}
	g.adam.Feeds(feeds, step, rate)
	results, err := session.Run(feeds, []tf.Output{g.loss}, g.updates...)
	if err != nil {
		return 0, err
	}
	defer tf.ReleaseAll(results)
	return float64(results[0].Float32s()[0]), nil
}

// Validate returns the sum of the losses of the batch's targets, in nats. It
// is safe for concurrent use.
func (g *Training) Validate(session *tf.Session, b Batch) (float64, error) {
	feeds := make(tf.Feeds)
	defer release(feeds)
	g.feed(feeds, &g.validation, b, g.model.StoredSize())
	results, err := session.Run(feeds, []tf.Output{g.total})
	if err != nil {
		return 0, err
	}
	defer tf.ReleaseAll(results)
	return float64(results[0].Float32s()[0]), nil
}

func (g *Training) feed(feeds tf.Feeds, in *side, b Batch, pixels int) {
	images := int64(b.Images)
	feeds[in.pixels] = Records(g.records(pixels), b.Pixels, b.Images)
	feeds[in.tokens] = tf.FromInt32(b.Tokens, images, int64(b.Captions), int64(b.Length))
	feeds[in.rows] = tf.FromInt32(b.Rows, int64(len(b.Rows)))
	feeds[in.targets] = tf.FromInt32(b.Targets, int64(len(b.Targets)))
}

func release(feeds tf.Feeds) {
	for _, t := range feeds {
		t.Release()
	}
}
