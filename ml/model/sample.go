package model

import (
	"github.com/captioner/captioner/ml/text"
	"github.com/captioner/captioner/ml/tf"
)

// Greedy captions pictures with the weights as they are now, by the validation
// tower: at each step the likeliest token is taken. It changes nothing in the
// session. pixels is [B, P, P, 3]; each caption is without the start and end
// tokens.
//
// The pictures are encoded once. The words so far go through the decoder again
// at every step, which needs no graph of its own, and for a handful of pictures
// is cheap.
func (g *Training) Greedy(session *tf.Session, pixels []byte, images int) ([][]int32, error) {
	grid, err := g.encode(session, pixels, images)
	if err != nil {
		return nil, err
	}
	defer grid.Release()
	captions, ended := make([][]int32, images), make([]bool, images)
	for length, open := 1, images; open > 0 && length < g.model.MaxTokens; length++ {
		next, err := g.likeliest(session, grid, captions, length)
		if err != nil {
			return nil, err
		}
		for i, token := range next {
			switch {
			case ended[i]:
			case token == g.model.words.End():
				ended[i] = true
				open--
			default:
				captions[i] = append(captions[i], token)
			}
		}
	}
	return captions, nil
}

// encode returns the grid of the pictures, which the caller releases.
func (g *Training) encode(session *tf.Session, pixels []byte, images int) (*tf.Tensor, error) {
	feeds := tf.Feeds{g.validation.pixels: Records(g.records(g.model.StoredSize()), pixels, images)}
	defer release(feeds)
	results, err := session.Run(feeds, []tf.Output{g.grid})
	if err != nil {
		return nil, err
	}
	return results[0], nil
}

// likeliest returns the token that follows the first length-1 words of each
// caption; what it gives for one that has ended means nothing.
func (g *Training) likeliest(session *tf.Session, grid *tf.Tensor, captions [][]int32, length int) ([]int32, error) {
	images := len(captions)
	tokens, rows := make([]int32, images*length), make([]int32, images)
	for i, caption := range captions {
		tokens[i*length] = g.model.words.Start()
		copy(tokens[i*length+1:(i+1)*length], caption)
		rows[i] = int32((i+1)*length - 1)
	}
	own := tf.Feeds{
		g.validation.tokens: tf.FromInt32(tokens, int64(images), 1, int64(length)),
		g.validation.rows:   tf.FromInt32(rows, int64(images)),
	}
	defer release(own)
	feeds := tf.Feeds{g.grid: grid}
	for output, tensor := range own {
		feeds[output] = tensor
	}
	results, err := session.Run(feeds, []tf.Output{g.next})
	if err != nil {
		return nil, err
	}
	defer tf.ReleaseAll(results)
	logits, next := results[0].Float32s(), make([]int32, images) // [B, V]
	for i := range next {
		next[i] = best(logits[i*g.model.Vocabulary:(i+1)*g.model.Vocabulary], g.model.words.Start())
	}
	return next, nil
}

// best returns the token with the highest logit, never the padding or start
// token, as the exported model does.
func best(logits []float32, start int32) int32 {
	best := text.Pad
	for i, logit := range logits {
		token := int32(i)
		if token != text.Pad && token != start && (best == text.Pad || logit > logits[best]) {
			best = token
		}
	}
	return best
}
