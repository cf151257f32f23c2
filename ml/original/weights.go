package original

import (
	"fmt"
	"slices"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/ml/keras"
)

// layers are those of the original's model in the order of their making. The
// axes that differ from model to model have any size.
func layers() []keras.Layer {
	weight := func(name string, axes int) keras.Weight {
		return keras.Weight{Name: name, Shape: slices.Repeat([]int64{-1}, axes)}
	}
	dense := []keras.Weight{weight("kernel", 2), weight("bias", 1)}
	var attention []keras.Weight
	for _, part := range []struct{ name, there string }{
		{"query", "query_dense"}, {"key", "key_dense"}, {"value", "value_dense"}, {"attention_output", "output_dense"},
	} {
		kernel, bias := weight(part.name+"/kernel", 3), weight(part.name+"/bias", 2)
		if part.name == "attention_output" {
			bias.Shape = bias.Shape[:1]
		}
		kernel.Path, bias.Path = part.there+"/vars/0", part.there+"/vars/1"
		attention = append(attention, kernel, bias)
	}
	lstm := []keras.Weight{weight("kernel", 2), weight("recurrent_kernel", 2), weight("bias", 1)}
	for i := range lstm {
		lstm[i].Path = fmt.Sprintf("cell/vars/%d", i)
	}
	return []keras.Layer{
		{Name: "project", Class: "dense", Weights: dense},
		{Name: "project_dropout", Class: "dropout", Inputs: []int{0}},
		{Name: "norm", Class: "layer_normalization", Inputs: []int{1}, Weights: []keras.Weight{weight("gamma", 1), weight("beta", 1)}},
		{Name: "words", Class: "embedding", Weights: []keras.Weight{weight("embeddings", 2)}},
		{Name: "lstm", Class: "lstm", Inputs: []int{3}, Weights: lstm},
		{Name: "query", Class: "reshape", Inputs: []int{2}},
		{Name: "attention", Class: "multi_head_attention", Inputs: []int{5, 4}, Weights: attention},
		{Name: "pool", Class: "global_average_pooling1d", Inputs: []int{6}},
		{Name: "join", Class: "concatenate", Inputs: []int{7, 2}},
		{Name: "merge", Class: "dense", Inputs: []int{8}, Weights: dense},
		{Name: "merge_dropout", Class: "dropout", Inputs: []int{9}},
		{Name: "logits", Class: "dense", Inputs: []int{10}, Weights: dense},
	}
}

// measure reads the sizes off the tensors, which must fit together.
func measure(w *keras.Weights) (Sizes, error) {
	project, query, table := w.Shape("project", "kernel"), w.Shape("attention", "query/kernel"), w.Shape("words", "embeddings")
	s := Sizes{
		Features: int(project[0]), Hidden: int(project[1]), Heads: int(query[1]), Tokens: int(table[0]), Embedding: int(table[1]),
	}
	d, h, n, v, e := project[0], project[1], query[1], table[0], table[1]
	want := map[string][]int64{
		"project/kernel": {d, h}, "project/bias": {h}, "norm/gamma": {h}, "norm/beta": {h}, "words/embeddings": {v, e},
		"lstm/kernel": {e, 4 * h}, "lstm/recurrent_kernel": {h, 4 * h}, "lstm/bias": {4 * h},
		"attention/attention_output/kernel": {n, h, h}, "attention/attention_output/bias": {h},
		"merge/kernel": {2 * h, h}, "merge/bias": {h}, "logits/kernel": {h, v}, "logits/bias": {v},
	}
	for _, part := range []string{"query", "key", "value"} {
		want["attention/"+part+"/kernel"], want["attention/"+part+"/bias"] = []int64{h, n, h}, []int64{n, h}
	}
	var problems []captioner.Problem
	for _, l := range layers() {
		for _, weight := range l.Weights {
			name := l.Name + "/" + weight.Name
			if got := w.Shape(l.Name, weight.Name); !slices.Equal(got, want[name]) {
				problems = append(problems, captioner.Problem{Field: name, Message: fmt.Sprintf("has the shape %v, and %v would fit the others", got, want[name])})
			}
		}
	}
	if len(problems) > 0 {
		return Sizes{}, &captioner.Error{
			Kind: captioner.Invalid, Code: "weights_mismatch", Problems: problems,
			Message: "the weights do not fit together to the original's model",
		}
	}
	return s, nil
}

// convert returns the weights under the names and in the layout of lstm-pooled.
// The key's bias is left out: it has no part in the softmax.
func convert(w *keras.Weights, s Sizes) map[string]Tensor {
	h, n, e := int64(s.Hidden), int64(s.Heads), int64(s.Embedding)
	made := map[string]Tensor{}
	take := func(name, layer, weight string, shape ...int64) {
		made[name] = Tensor{w.Values(layer, weight), shape}
	}
	take("encoder/project/kernel", "project", "kernel", int64(s.Features), h)
	take("encoder/project/bias", "project", "bias", h)
	take("encoder/norm/scale", "norm", "gamma", h)
	take("encoder/norm/offset", "norm", "beta", h)
	take("decoder/words/table", "words", "embeddings", int64(s.Tokens), e)
	take("decoder/attention/query/kernel", "attention", "query/kernel", h, n*h)
	take("decoder/attention/query/bias", "attention", "query/bias", n*h)
	take("decoder/attention/key/kernel", "attention", "key/kernel", h, n*h)
	take("decoder/attention/value/kernel", "attention", "value/kernel", h, n*h)
	take("decoder/attention/value/bias", "attention", "value/bias", n*h)
	take("decoder/attention/out/kernel", "attention", "attention_output/kernel", n*h, h)
	take("decoder/attention/out/bias", "attention", "attention_output/bias", h)
	take("decoder/merge/kernel", "merge", "kernel", 2*h, h)
	take("decoder/merge/bias", "merge", "bias", h)
	take("decoder/logits/kernel", "logits", "kernel", h, int64(s.Tokens))
	take("decoder/logits/bias", "logits", "bias", int64(s.Tokens))

	made["decoder/lstm/kernel"] = Tensor{ourGates(w.Values("lstm", "kernel"), s.Hidden), []int64{e, 4 * h}}
	made["decoder/lstm/recurrent"] = Tensor{ourGates(w.Values("lstm", "recurrent_kernel"), s.Hidden), []int64{h, 4 * h}}
	bias := ourGates(w.Values("lstm", "bias"), s.Hidden)
	for i := s.Hidden; i < 2*s.Hidden; i++ {
		bias[i]-- // ours adds 1 to the forget gate
	}
	made["decoder/lstm/bias"] = Tensor{bias, []int64{4 * h}}
	return made
}

// ourGates reorders the columns of an LSTM's tensor: Keras has input, forget,
// cell and output, we have the output before the cell.
func ourGates(x []float32, hidden int) []float32 {
	made := make([]float32, 0, len(x))
	for row := 0; row < len(x); row += 4 * hidden {
		for _, gate := range []int{0, 1, 3, 2} {
			made = append(made, x[row+gate*hidden:row+(gate+1)*hidden]...)
		}
	}
	return made
}
