package model

import (
	"github.com/captioner/captioner"
	"github.com/captioner/captioner/ml/nn"
	"github.com/captioner/captioner/ml/optim"
	"github.com/captioner/captioner/ml/tf"
)

// Batch is what one step reads. The rows are the places in the flattened
// tokens whose next word counts; padding is left out before the logits, the
// widest product of all.
type Batch struct {
	// Pixels is [B, S, S, 3] for a training step and [B, P, P, 3] for validation.
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
	labels int
	adam   *optim.Adam
	step   tf.Output

	training, validation side
	loss                 tf.Output
	updates              []*tf.Operation
	total                tf.Output
}

// side is the inputs of a tower.
type side struct{ pixels, tokens, rows, targets, labels tf.Output }

// NewTraining builds the training graph. labels is the number of auxiliary
// words, A; with 0, or an AuxiliaryWeight of 0, there is no auxiliary loss.
func NewTraining(m *Model, c captioner.TrainingConfig, labels int) (*Training, error) {
	s := tf.NewScope()
	g := &Training{model: m, labels: labels, Weights: nn.NewVariables(s, c.Seed), step: tf.Placeholder(s.SubScope("step"), tf.Int64)}

	// The tower that is trained.
	t := &nn.Tower{Scope: s.SubScope("training"), Weights: g.Weights, Training: true, Seed: c.Seed, Step: g.step}
	grid, logits := g.forward(t, &g.training, m.ImageSize)
	losses, gradient := nn.CrossEntropy(t.Scope, logits, g.training.targets, c.LabelSmoothing)
	g.loss = nn.Mean(t.Scope, losses, false, 0) // nats per token
	share := tf.Out(t.Scope, "Reciprocal", nil, nn.Cast(t.Scope, nn.Size(t.Scope, g.training.targets, 0), tf.Float))
	ys, dys := []tf.Output{logits}, []tf.Output{nn.Mul(t.Scope, gradient, share)}
	if labels > 0 && c.AuxiliaryWeight > 0 {
		g.training.labels = tf.Placeholder(t.Scope.SubScope("labels"), tf.Float, -1, int64(labels))
		auxiliary := nn.OccurrenceLoss(t.Sub("auxiliary"), grid, g.training.labels)
		ys, dys = append(ys, auxiliary), append(dys, tf.Scalar(t.Scope, float32(c.AuxiliaryWeight)))
	}

	// Its gradients and what they do.
	weights := g.Weights.Trained()
	values := make([]tf.Output, len(weights))
	for i, w := range weights {
		values[i] = w.Value
	}
	gradients := tf.Gradients(t.Scope, ys, values, dys...)
	g.adam = optim.NewAdam(s, optim.Options{Beta1: c.Beta1, Beta2: c.Beta2, Epsilon: c.Epsilon, ClipNorm: c.ClipNorm},
		g.Weights.All(), weights, gradients)
	g.updates = append(g.adam.Updates(), g.Weights.Updates()...)

	// The tower that validates with the same weights.
	v := &nn.Tower{Scope: s.SubScope("validation"), Weights: g.Weights}
	_, logits = g.forward(v, &g.validation, Pixels(m.ModelConfig))
	losses, _ = nn.CrossEntropy(v.Scope, logits, g.validation.targets, 0)
	g.total = nn.Sum(v.Scope, losses, 0)

	var err error
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
	in.pixels = tf.Placeholder(s.SubScope("pixels"), tf.Uint8, -1, int64(pixels), int64(pixels), 3)
	in.tokens = tf.Placeholder(s.SubScope("tokens"), tf.Int32, -1, -1, -1)
	in.rows = tf.Placeholder(s.SubScope("rows"), tf.Int32, -1)
	in.targets = tf.Placeholder(s.SubScope("targets"), tf.Int32, -1)

	grid = m.grid(t, in.pixels)
	d := t.Sub("decoder")
	x := m.words(d, in.tokens, m.memory(d, grid)) // [B·C, T, M]
	x = nn.Gather(s, nn.Reshape(s, x, -1, m.Width), in.rows)
	return grid, m.logits(d, x)
}

// Initial returns the values of all variables before the first step. The
// caller releases them.
func (g *Training) Initial() map[string]*tf.Tensor {
	values := g.Weights.Initial()
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

// Step takes one optimiser step, counted from 1, and returns the mean loss of
// the batch in nats per token.
func (g *Training) Step(session *tf.Session, b Batch, step int, rate float64) (float64, error) {
	feeds := g.feeds(&g.training, b, g.model.ImageSize)
	defer release(feeds)
	feeds[g.step] = tf.FromInt64([]int64{int64(step)})
	if g.training.labels.Op != nil {
		feeds[g.training.labels] = tf.FromFloat32(b.Labels, int64(b.Images), int64(g.labels))
	}
	g.adam.Feeds(feeds, step, rate)
	results, err := session.Run(feeds, []tf.Output{g.loss}, g.updates...)
	if err != nil {
		return 0, err
	}
	defer tf.ReleaseAll(results)
	return float64(results[0].Float32s()[0]), nil
}

// Validate returns the sum of the losses of the batch's targets, in nats.
func (g *Training) Validate(session *tf.Session, b Batch) (float64, error) {
	feeds := g.feeds(&g.validation, b, Pixels(g.model.ModelConfig))
	defer release(feeds)
	results, err := session.Run(feeds, []tf.Output{g.total})
	if err != nil {
		return 0, err
	}
	defer tf.ReleaseAll(results)
	return float64(results[0].Float32s()[0]), nil
}

func (g *Training) feeds(in *side, b Batch, pixels int) tf.Feeds {
	images, side := int64(b.Images), int64(pixels)
	return tf.Feeds{
		in.pixels:  tf.FromBytes(b.Pixels, images, side, side, 3),
		in.tokens:  tf.FromInt32(b.Tokens, images, int64(b.Captions), int64(b.Length)),
		in.rows:    tf.FromInt32(b.Rows, int64(len(b.Rows))),
		in.targets: tf.FromInt32(b.Targets, int64(len(b.Targets))),
	}
}

func release(feeds tf.Feeds) {
	for _, t := range feeds {
		t.Release()
	}
}
