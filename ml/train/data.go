package train

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/ml/features"
	"github.com/captioner/captioner/ml/model"
	"github.com/captioner/captioner/ml/text"
)

// example is a picture, as a memory-mapped record, with its captions as tokens.
type example struct {
	pixels   []byte // P·P·3, or what a frozen encoder has made of them
	captions [][]int32
	labels   []int // the auxiliary words that its captions hold

	image, reference string // its name and first caption, to show
}

// data is what training reads.
type data struct {
	digest     captioner.Digest
	vocabulary *text.Vocabulary
	maxTokens  int
	layout     features.Layout // of the records

	train, validation []example
	labels            int // the number of auxiliary words, A

	shards []*features.Reader
}

// load opens the data set and the shards. The caller closes the result.
func load(req captioner.TrainRequest) (_ *data, err error) {
	d := &data{}
	defer func() {
		if err != nil {
			d.close()
		}
	}()
	raw, err := os.ReadFile(req.Dataset)
	if err != nil {
		return nil, fmt.Errorf("read the data set: %w", err)
	}
	var ds captioner.Dataset
	if err := json.Unmarshal(raw, &ds); err != nil {
		return nil, captioner.Wrap(captioner.Corrupt, err, "the data set's description cannot be read")
	}
	d.digest = captioner.DigestOf(raw)
	d.maxTokens = ds.MaxTokens
	if d.vocabulary, err = text.NewVocabulary(ds.Vocabulary); err != nil {
		return nil, captioner.Wrap(captioner.Invalid, err, "the data set's vocabulary cannot be used")
	}
	pixels, err := d.open(req.Shards)
	if err != nil {
		return nil, err
	}
	for _, e := range ds.Examples {
		if e.Split != captioner.Train && e.Split != captioner.Validation {
			continue
		}
		made := example{pixels: pixels[e.Image], image: e.Image}
		if made.pixels == nil {
			return nil, captioner.Errorf(captioner.Internal, "picture %q of the %s split is in no shard", e.Image, e.Split)
		}
		if len(e.References) > 0 {
			made.reference = e.References[0]
		}
		for _, reference := range e.References {
			made.captions = append(made.captions, d.vocabulary.Encode(reference, d.maxTokens))
		}
		switch {
		case len(made.captions) == 0:
		case e.Split == captioner.Train:
			d.train = append(d.train, made)
		default:
			d.validation = append(d.validation, made)
		}
	}
	if len(d.train) == 0 || len(d.validation) == 0 {
		return nil, captioner.Errorf(captioner.Invalid, "training needs pictures in the train and validation splits, and there are %d and %d", len(d.train), len(d.validation))
	}
	d.labels = label(d.train, d.vocabulary)
	return d, nil
}

// open maps the shards into memory and returns each picture's record by name.
func (d *data) open(paths []string) (map[string][]byte, error) {
	pixels := make(map[string][]byte)
	for _, path := range paths {
		shard, err := features.Open(path)
		if err != nil {
			return nil, err
		}
		d.shards = append(d.shards, shard)
		if err := shard.Verify(); err != nil {
			return nil, err
		}
		if first := d.shards[0].Layout(); shard.Layout() != first {
			return nil, shard.Layout().Other(first.String())
		}
		for i := range shard.Len() {
			pixels[shard.Image(i)] = shard.Record(i)
		}
		d.layout = shard.Layout()
	}
	return pixels, nil
}

func (d *data) close() {
	for _, shard := range d.shards {
		shard.Close()
	}
}

// Random numbers for different purposes come from streams of their own.
const (
	orderStream = 0x6f72646572 // "order"
	stepStream  = 0x73746570   // "step"
)

func stream(seed, purpose uint64, number int) *rand.Rand {
	return rand.New(rand.NewPCG(seed^purpose<<16, uint64(number)))
}

// order returns the order of n pictures in an epoch, a function of seed and
// epoch alone.
func order(seed uint64, epoch, n int) []int {
	r := stream(seed, orderStream, epoch)
	places := make([]int, n)
	for i := range places {
		places[i] = i
	}
	for i := n - 1; i > 0; i-- {
		j := int(r.Uint64() % uint64(i+1))
		places[i], places[j] = places[j], places[i]
	}
	return places
}

// trainBatches deals the examples of a step out to so many batches: each example
// in a random crop where augmented and with random captions, a function of seed
// and step alone.
func (d *data) trainBatches(c captioner.TrainingConfig, side int, examples []*example, step, count int) []model.Batch {
	r := stream(c.Seed, stepStream, step)
	batches := make([]model.Batch, count)
	for i := range batches {
		batches[i] = d.trainBatch(r, c, side, examples[i*len(examples)/count:(i+1)*len(examples)/count])
	}
	return batches
}

func (d *data) trainBatch(r *rand.Rand, c captioner.TrainingConfig, side int, examples []*example) model.Batch {
	captions := make([][][]int32, len(examples))
	b := model.Batch{
		Images: len(examples),
		Pixels: make([]byte, 0, len(examples)*d.layout.Size()),
		Labels: make([]float32, len(examples)*d.labels),
	}
	for i, e := range examples {
		if d.layout.Type == features.Uint8 {
			b.Pixels = d.appendCrop(b.Pixels, r, c.Augmentation, side, e.pixels)
		} else {
			b.Pixels = append(b.Pixels, e.pixels...)
		}
		captions[i] = draw(r, e.captions, c.CaptionsPerImage)
		for _, l := range e.labels {
			b.Labels[i*d.labels+l] = 1
		}
	}
	fill(&b, captions)
	return b
}

// appendCrop appends a square of the side, from anywhere in the picture or from
// its centre.
func (d *data) appendCrop(to []byte, r *rand.Rand, anywhere bool, side int, pixels []byte) []byte {
	stored := d.layout.Width
	margin := stored - side
	top, left := margin/2, margin/2
	if anywhere {
		top, left = int(r.Uint64()%uint64(margin+1)), int(r.Uint64()%uint64(margin+1))
	}
	for y := top; y < top+side; y++ {
		to = append(to, pixels[(y*stored+left)*3:(y*stored+left+side)*3]...)
	}
	return to
}

// draw returns n of the captions at random, none twice while there are enough.
func draw(r *rand.Rand, captions [][]int32, n int) [][]int32 {
	drawn := make([][]int32, 0, n)
	var left [][]int32
	for len(drawn) < n {
		if len(left) == 0 {
			left = append(left, captions...)
		}
		i := int(r.Uint64() % uint64(len(left)))
		drawn = append(drawn, left[i])
		left[i] = left[len(left)-1]
		left = left[:len(left)-1]
	}
	return drawn
}

// validationBatch returns the examples with all their captions.
func (d *data) validationBatch(examples []example) model.Batch {
	b := model.Batch{Images: len(examples)}
	captions := make([][][]int32, len(examples))
	for i, e := range examples {
		b.Pixels = append(b.Pixels, e.pixels...)
		captions[i] = e.captions
	}
	fill(&b, captions)
	return b
}

// fill lays out the captions: as wide as the picture with the most, as long as
// the longest; what is empty is no row.
func fill(b *model.Batch, captions [][][]int32) {
	for _, list := range captions {
		b.Captions = max(b.Captions, len(list))
		for _, c := range list {
			b.Length = max(b.Length, len(c)-1)
		}
	}
	b.Tokens = make([]int32, b.Images*b.Captions*b.Length)
	for i, list := range captions {
		for j, c := range list {
			start := (i*b.Captions + j) * b.Length
			copy(b.Tokens[start:], c[:len(c)-1])
			for k, target := range c[1:] {
				b.Rows = append(b.Rows, int32(start+k))
				b.Targets = append(b.Targets, target)
			}
		}
	}
}
