package demodata

import (
	"fmt"
	"math/rand/v2"

	"github.com/captioner/captioner"
)

const (
	// unseenPairs is how many pairs are kept for the test split.
	unseenPairs = 6
	// unseenShare is the share of the test pictures that show one of them:
	// enough to score apart, few enough to leave the split like the others.
	unseenShare = 0.12
)

// Streams of random numbers, so that a change to one leaves the others alone.
const (
	planStream = iota << 32
	sceneStream
	captionStream
	pixelStream
)

// stream returns the random numbers of one purpose, for one picture.
func stream(seed uint64, purpose, picture int) *rand.Rand {
	return rand.New(rand.NewPCG(seed, uint64(purpose)|uint64(picture)))
}

// plan says what each picture has to be, before any is drawn.
type plan struct {
	unseen []Pair
	splits []captioner.Split // of each picture
	first  []*Pair           // the pair that the picture must show, or nil
}

func newPlan(opt Options) plan {
	r := stream(opt.Seed, planStream, 0)
	p := plan{unseen: chooseUnseen(r)}
	p.splits = make([]captioner.Split, opt.Images)
	p.first = make([]*Pair, opt.Images)
	train, validation := splitSizes(opt.Images)
	for i, picture := range r.Perm(opt.Images) {
		switch {
		case i < train:
			p.splits[picture] = captioner.Train
		case i < train+validation:
			p.splits[picture] = captioner.Validation
		default:
			p.splits[picture] = captioner.Test
			if n := i - train - validation; float64(n) < unseenShare*float64(opt.Images-train-validation) {
				p.first[picture] = &p.unseen[n%len(p.unseen)]
			}
		}
	}
	return p
}

// splitSizes divides as 2,000 : 200 : 300; the test split gets the rest, and
// no split is empty.
func splitSizes(images int) (train, validation int) {
	validation = max(images*200/2500, 1)
	test := max(images*300/2500, 1)
	return images - validation - test, validation
}

// chooseUnseen picks pairs with no colour and no shape twice, so that each
// colour and each shape is seen often with others.
func chooseUnseen(r *rand.Rand) []Pair {
	cs, ss := colours(), shapes()
	c, s := r.Perm(len(cs)), r.Perm(len(ss))
	pairs := make([]Pair, unseenPairs)
	for i := range pairs {
		pairs[i] = Pair{cs[c[i]], ss[s[i]]}
	}
	return pairs
}

// scene draws the truth about picture i.
func (p plan) scene(seed uint64, i int) Scene {
	avoid := make(map[Pair]bool, len(p.unseen))
	for _, u := range p.unseen {
		avoid[u] = true
	}
	s := newScene(stream(seed, sceneStream, i), p.first[i], avoid)
	s.Image, s.Split = imageName(i), p.splits[i]
	return s
}

func imageName(i int) string { return fmt.Sprintf("scene_%05d.jpg", i+1) }
