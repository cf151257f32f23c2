package nn

import (
	"math"

	"github.com/captioner/captioner/ml/tf"
)

// hidden is added to the scores that attention must not see. It is finite, so
// that no gradient becomes undefined.
const hidden = -1e9

// CausalMask returns what to add to attention scores so that no token sees a
// later one: 0 where column <= row, -1e9 elsewhere.
//
//	tokens  T, as a size for Reshape
//	result  [T, T]
func CausalMask(s *tf.Scope, tokens any) tf.Output {
	limit, ok := tokens.(tf.Output)
	if !ok {
		limit = tf.Int(s, int32(tokens.(int)))
	}
	places := tf.Out(s, "Range", nil, tf.Int(s, 0), limit, tf.Int(s, 1)) // [T]
	later := tf.Out(s, "Greater", nil, ExpandDims(s, places, 0), ExpandDims(s, places, 1))
	return Scale(s, Cast(s, later, tf.Float), hidden)
}

// SplitHeads cuts the last axis of x into parts, such as queries, keys and
// values, and each part into heads. One transposition serves all parts.
//
//	x       [B, T, parts·N·H]
//	result  parts times [B, N, T, H]
func SplitHeads(s *tf.Scope, x tf.Output, parts, heads int) []tf.Output {
	size := width(s, x) / parts / heads
	if parts == 1 {
		return []tf.Output{Transpose(s, Reshape(s, x, append(lead(s, x), heads, size)...), 0, 2, 1, 3)}
	}
	x = Reshape(s, x, append(lead(s, x), parts, heads, size)...) // [B, T, parts, N, H]
	return Unpack(s, Transpose(s, x, 2, 0, 3, 1, 4), parts)
}

// JoinHeads undoes SplitHeads for one part.
//
//	x       [B, N, T, H]
//	result  [B, T, N·H]
func JoinHeads(s *tf.Scope, x tf.Output) tf.Output {
	x = Transpose(s, x, 0, 2, 1, 3) // [B, T, N, H]
	dims := tf.Dims(s, x)
	if len(dims) != 4 {
		return tf.Output{}
	}
	return Reshape(s, x, append(lead(s, x)[:2], int(dims[2]*dims[3]))...)
}

// Attend returns the average of the values, weighted for each query by how
// well the keys match it: softmax(q·kᵀ/√H + mask)·v (Vaswani et al. 2017,
// section 3.2.1).
//
//	queries       [B, N, T, H]
//	keys, values  [B, N, L, H]
//	mask          [T, L] or an empty Output for none
//	context       [B, N, T, H]
//	weights       [B, N, T, L]  non-negative, rows sum to 1
func Attend(s *tf.Scope, queries, keys, values, mask tf.Output) (context, weights tf.Output) {
	scale := float32(1 / math.Sqrt(float64(width(s, queries))))
	scores := tf.Out(s, "BatchMatMulV2", tf.Attrs{"adj_y": true}, Scale(s, queries, scale), keys) // [B, N, T, L]
	if mask.Op != nil {
		scores = Add(s, scores, mask)
	}
	weights = tf.Out(s, "Softmax", nil, scores)
	return tf.Out(s, "BatchMatMulV2", nil, weights, values), weights
}

// SelfAttention lets every token of x look at itself and the tokens that mask
// leaves visible, with several heads (Vaswani et al. 2017, section 3.2.2).
//
//	x, result  [B, T, M]
//	mask       [T, T], see CausalMask
//	weights    qkv [M, 3M] and bias, out [M, M] and bias
func SelfAttention(t *Tower, x, mask tf.Output, heads int) tf.Output {
	s := t.Scope
	size := width(s, x)
	parts := SplitHeads(s, Dense(t.Sub("qkv"), x, 3*size, Glorot), 3, heads)
	context, _ := Attend(s, parts[0], parts[1], parts[2], mask)
	return Dense(t.Sub("out"), JoinHeads(s, context), size, Glorot)
}

// SelfAttentionStep is SelfAttention for one more token, with the keys and
// values of those before it kept.
//
//	x, result  [K, 1, M]
//	past       [K, 2, T, M]    keys and values so far
//	now        [K, 2, T+1, M]  and with this token's
func SelfAttentionStep(t *Tower, x, past tf.Output, heads int) (result, now tf.Output) {
	s := t.Scope
	size := width(s, x)
	qkv := Reshape(s, Dense(t.Sub("qkv"), x, 3*size, Glorot), -1, 3, 1, size) // [K, 3, 1, M]
	query := Slice(s, qkv, []int32{0, 0, 0, 0}, []int32{-1, 1, -1, -1})
	now = Concat(s, 2, past, Slice(s, qkv, []int32{0, 1, 0, 0}, []int32{-1, 2, -1, -1}))

	q := Reshape(s, query, -1, heads, 1, size/heads) // [K, N, 1, H]
	sizes := Sizes(s, now)                           // K, 2, T+1, M
	if len(sizes) != 4 {
		return tf.Output{}, tf.Output{}
	}
	kv := Reshape(s, now, sizes[0], 2, sizes[2], heads, size/heads)
	parts := Unpack(s, Transpose(s, kv, 1, 0, 3, 2, 4), 2) // [K, N, T+1, H]
	context, _ := Attend(s, q, parts[0], parts[1], tf.Output{})
	return Dense(t.Sub("out"), JoinHeads(s, context), size, Glorot), now
}

// CrossAttention lets every token of x look at all locations of the picture.
//
//	x, result     [B, T, M]
//	keys, values  [B, N, L, H]
//	seen          [B, N, T, L]  attention weights, rows sum to 1
//	weights       query [M, M] and bias, out [M, M] and bias
func CrossAttention(t *Tower, x, keys, values tf.Output, heads int) (result, seen tf.Output) {
	s := t.Scope
	size := width(s, x)
	queries := SplitHeads(s, Dense(t.Sub("query"), x, size, Glorot), 1, heads)[0]
	context, seen := Attend(s, queries, keys, values, tf.Output{})
	return Dense(t.Sub("out"), JoinHeads(s, context), size, Glorot), seen
}

// AdditiveAttention returns for each query the average of the values, weighted
// by how well their keys match it: softmax(tanh(query + key)·v) (Bahdanau, Cho
// and Bengio 2015, section 3.1).
//
//	queries       [B, C, A]
//	keys          [B, L, A]
//	values        [B, L, D]
//	context       [B, C, D]
//	seen          [B, C, L]  attention weights, rows sum to 1
//	weights       score [A, 1]
func AdditiveAttention(t *Tower, queries, keys, values tf.Output) (context, seen tf.Output) {
	s := t.Scope
	size := width(s, keys)
	match := Tanh(s, Add(s, ExpandDims(s, queries, 2), ExpandDims(s, keys, 1))) // [B, C, L, A]
	score := t.weight("score", Glorot, int64(size), 1)
	scores := Reshape(s, narrowMatMul(s, Reshape(s, match, -1, size), score), lead(s, match)...) // [B, C, L]
	seen = tf.Out(s, "Softmax", nil, scores)
	return narrowMatMul(s, seen, values), seen
}

// narrowMatMul is MatMul, or one of each pair in a batch, where one factor has few
// rows or columns. It reads much for what it computes, and so is no faster in
// bfloat16, for which all of that would be converted first: TensorFlow's rewriting
// of graphs does not know this operation and leaves it in float32.
//
//	a       [..., I, K]
//	b       [..., K, J]
//	result  [..., I, J]
func narrowMatMul(s *tf.Scope, a, b tf.Output) tf.Output {
	return tf.Out(s, "BatchMatMulV3", tf.Attrs{"Tout": tf.Float}, a, b)
}
