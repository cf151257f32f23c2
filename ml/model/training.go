package model

import (
	"fmt"
	"maps"
	"math"
	"slices"
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
	// LossScale is what float16 multiplies the loss by; Step moves it. Other
	// precisions have none.
	LossScale optim.LossScale

	model  *Model
	input  features.Layout // of what is trained on
	labels int
	adam   *optim.Adam
	sums   *optim.Sums // of the gradients of a step's batches; nil where one Run is a step

	step         tf.Output
	rows, images tf.Output // how many a step has of them in all, float32 []
	scale        tf.Output // the loss' scale, where it has one

	training   []side // one per tower
	loss       tf.Output
	averages   []*tf.Operation
	validation side
	total      tf.Output
	grid       tf.Output // of the validation tower, [B, L, M]
	next       tf.Output // its logits, [R, V]
}

// side is the inputs of a tower.
type side struct{ pixels, tokens, rows, targets, labels tf.Output }

// towerScope begins the names of all operations of a tower, followed by its
// number: those of its forward pass and those of its gradients.
const towerScope = "tower"

// Towers returns how many towers train on a batch of that many pictures, on the
// CPU: each takes its share of them, and they run side by side. Two towers of
// one-threaded operations use two cores better than one tower whose operations
// are split over both: measured 1.4 times the speed. It is a constant, since
// results depend on it: batch normalisation sees a tower's share.
func Towers(batchSize int) int { return max(1, min(2, batchSize)) }

// Placement spreads towers over the devices, in turn. What they share, the
// weights and what moves them, stays where TensorFlow puts it: on the first.
func Placement(devices []string) tf.Placement {
	return func(operation string) string {
		var tower int
		if len(devices) < 2 {
			return ""
		}
		if n, _ := fmt.Sscanf(operation, towerScope+"%d/", &tower); n != 1 {
			return ""
		}
		return devices[tower%len(devices)]
	}
}

// NewTraining builds the training graph with that many towers. labels is the
// number of auxiliary words, A; with 0, or an AuxiliaryWeight of 0, there is
// no auxiliary loss.
func NewTraining(m *Model, c captioner.TrainingConfig, labels, towers int) (*Training, error) {
	s := tf.NewScope()
	g := &Training{
		model: m, input: m.Input(c), labels: labels,
		Weights: nn.NewVariables(s, c.Seed), step: tf.Placeholder(s.SubScope("step"), tf.Int64),
	}
	g.rows, g.images = tf.Placeholder(s.SubScope("rows"), tf.Float), tf.Placeholder(s.SubScope("images"), tf.Float)
	source, err := g.source(c.FineTuneBlocks)
	if err != nil {
		return nil, err
	}
	if c.AuxiliaryWeight == 0 {
		g.labels = 0
	}
	scaled := c.Precision == captioner.PrecisionFloat16
	if scaled {
		g.LossScale = optim.NewLossScale()
		g.scale = tf.Placeholder(s.SubScope("scale"), tf.Float)
	}

	// The towers that are trained.
	var losses tf.OutputList
	gradients := make([]tf.OutputList, towers)
	g.training = make([]side, towers)
	for i := range g.training {
		t := &nn.Tower{
			Scope: s.SubScope(fmt.Sprint(towerScope, i)), Weights: source, Training: true, Seed: c.Seed + uint64(i), Step: g.step,
			FrozenAverages: m.pretrained != nil,
		}
		var loss tf.Output
		loss, gradients[i] = g.tower(t, &g.training[i], c)
		losses = append(losses, loss)
	}
	g.loss = nn.Mean(s, nn.Concat(s, 0, losses...), false, 0) // nats per token
	g.averages = g.Weights.Updates(s.SubScope("averages"))

	// Their gradients together and what they do.
	weights := g.Weights.Trained()
	together := make([]tf.Output, len(weights))
	for i := range weights {
		together[i] = nn.AddSame(s, column(gradients, i)...)
	}
	if c.AccumulationSteps > 1 || scaled {
		g.sums = optim.NewSums(s, weights, together)
		together = g.sums.Values()
	}
	if scaled {
		for i := range together {
			together[i] = tf.Out(s, "RealDiv", nil, together[i], g.scale)
		}
	}
	g.adam = optim.NewAdam(s, optim.Options{
		Beta1: c.Beta1, Beta2: c.Beta2, Epsilon: c.Epsilon, ClipNorm: c.ClipNorm, Share: g.share(c.EncoderLearningRateRatio),
	}, g.Weights.All(), weights, together)

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

// tower adds a training tower: what it loses, [R], and its share of the
// gradients of all weights there are. All targets of the step weigh the same,
// whichever tower and batch has them.
func (g *Training) tower(t *nn.Tower, in *side, c captioner.TrainingConfig) (losses tf.Output, gradients tf.OutputList) {
	s := t.Scope
	grid, logits := g.forward(t, in, g.model.ImageSize)
	losses, gradient := nn.CrossEntropy(s, logits, in.targets, c.LabelSmoothing)
	ys, dys := []tf.Output{logits}, []tf.Output{tf.Out(s, "RealDiv", nil, gradient, g.rows)}
	if g.labels > 0 {
		in.labels = tf.Placeholder(s.SubScope("labels"), tf.Float, -1, int64(g.labels))
		share := tf.Out(s, "RealDiv", nil, nn.Cast(s, nn.Size(s, in.labels, 0), tf.Float), g.images)
		ys = append(ys, nn.OccurrenceLoss(t.Sub("auxiliary"), grid, in.labels))
		dys = append(dys, nn.Scale(s, share, float32(c.AuxiliaryWeight)))
	}
	if g.scale.Op != nil {
		for i := range dys {
			dys[i] = nn.Mul(s, dys[i], g.scale)
		}
	}
	var values []tf.Output
	for _, w := range g.Weights.Trained() {
		values = append(values, w.Value)
	}
	return losses, tf.Gradients(s, ys, values, dys...)
}

// column returns the i-th output of every list; none where one has failed.
func column(lists []tf.OutputList, i int) []tf.Output {
	outputs := make([]tf.Output, len(lists))
	for j, list := range lists {
		if i < len(list) {
			outputs[j] = list[i]
		}
	}
	return outputs
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

// wordsTable is the variable of the words' vectors.
const wordsTable = "decoder/words/table"

// StartWords gives the words the vectors of a file in the values that Initial
// has returned. A row of zeros is that of a word without one: such a word keeps
// what it starts with, random numbers where the vectors are trained and zeros
// where they are frozen.
//
//	vectors  [V, E]
func (g *Training) StartWords(values map[string]*tf.Tensor, vectors *tf.Tensor) error {
	table := values[wordsTable]
	if table == nil {
		return captioner.Errorf(captioner.Invalid, "the decoder %s has no words' vectors for data.glove to start", g.model.Decoder)
	}
	if !slices.Equal(table.Shape(), vectors.Shape()) {
		return captioner.Errorf(captioner.Invalid, "the vectors of data.glove have the shape %v, and the model's words %v: check model.embedding_dim",
			vectors.Shape(), table.Shape())
	}
	width := g.model.EmbeddingSize()
	from, into := vectors.Float32s(), table.Float32s()
	for at := 0; at < len(from); at += width {
		row := from[at : at+width]
		if slices.ContainsFunc(row, func(v float32) bool { return v != 0 }) {
			copy(into[at:at+width], row)
		}
	}
	return nil
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

// Step takes one optimiser step, counted from 1, and returns the mean loss in
// nats per token. The batches are one for each tower or, where gradients are
// accumulated, a multiple of that: the towers then take them in turn.
//
// With float16, a step whose gradients are not finite leaves the weights as
// they are; LossScale counts it and scales the loss by less from then on.
func (g *Training) Step(session *tf.Session, batches []Batch, step int, rate float64) (float64, error) {
	rows, images := rowsOf(batches), 0
	for _, b := range batches {
		images += b.Images
	}
	shared := tf.Feeds{g.rows: tf.FromFloat32([]float32{float32(rows)}), g.images: tf.FromFloat32([]float32{float32(images)})}
	defer release(shared)
	if g.scale.Op != nil {
		shared[g.scale] = tf.FromFloat32([]float32{float32(g.LossScale.Scale)})
	}
	g.adam.Feeds(shared, step-g.LossScale.Skipped, rate)

	loss, towers := 0.0, len(g.training)
	turns := len(batches) / towers
	for turn := range turns {
		part := batches[turn*towers : (turn+1)*towers]
		// Dropout differs from turn to turn.
		mean, err := g.run(session, shared, part, (step-1)*turns+turn+1, g.targets(turn))
		if err != nil {
			return 0, err
		}
		loss += mean * (float64(rowsOf(part)) / float64(rows))
	}
	if g.sums == nil {
		return loss, nil
	}
	return loss, g.apply(session, shared)
}

// targets returns what moves in a turn of a step, counted from 0.
func (g *Training) targets(turn int) []*tf.Operation {
	switch {
	case g.sums == nil:
		return slices.Concat(g.adam.Updates(), g.averages)
	case turn == 0:
		return slices.Concat(g.sums.Start(), g.averages)
	default:
		return slices.Concat(g.sums.Add(), g.averages)
	}
}

// run has every tower compute its batch, and returns their mean loss. number
// keys dropout.
func (g *Training) run(session *tf.Session, shared tf.Feeds, batches []Batch, number int, targets []*tf.Operation) (float64, error) {
	own := tf.Feeds{g.step: tf.FromInt64([]int64{int64(number)})}
	defer release(own)
	for i := range g.training {
		in, b := &g.training[i], batches[i]
		g.feed(own, in, b, g.model.ImageSize)
		if g.labels > 0 {
			own[in.labels] = tf.FromFloat32(b.Labels, int64(b.Images), int64(g.labels))
		}
	}
	feeds := maps.Clone(shared)
	maps.Copy(feeds, own)
	results, err := session.Run(feeds, []tf.Output{g.loss}, targets...)
	if err != nil {
		return 0, err
	}
	defer tf.ReleaseAll(results)
	return float64(results[0].Float32s()[0]), nil
}

// apply moves the weights by the gradients that were added up.
func (g *Training) apply(session *tf.Session, shared tf.Feeds) error {
	if g.scale.Op != nil {
		results, err := session.Run(shared, []tf.Output{g.adam.Norm()})
		if err != nil {
			return err
		}
		norm := float64(results[0].Float32s()[0])
		tf.ReleaseAll(results)
		finite := !math.IsNaN(norm) && !math.IsInf(norm, 0)
		if g.LossScale = g.LossScale.After(finite); !finite {
			return nil
		}
	}
	_, err := session.Run(shared, nil, g.adam.Updates()...)
	return err
}

func rowsOf(batches []Batch) int {
	rows := 0
	for _, b := range batches {
		rows += len(b.Rows)
	}
	return rows
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
