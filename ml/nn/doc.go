// Package nn has the layers that models are built from, as functions that add
// operations to a graph: dense, embedding, layer and batch normalisation,
// convolution, LSTM, multi-head and additive attention, dropout, losses and
// picture preprocessing.
//
// A layer takes a [Tower], which says where its operations and weights go and
// whether it is being trained, and tensors. Shapes stand in the comments, one
// letter per axis: B batch, T tokens, L locations, M model width, N heads, H
// hidden width, V vocabulary; pictures are [B, height, width, 3], RGB. All
// numbers are float32 unless a comment says otherwise. A mistake sticks to the
// tower's scope and comes back from its Finalize, naming the layer.
//
// Nothing here is random by itself: initial weights depend on a seed and the
// weight's name, dropout on a seed, the layer's name and the step that is fed.
package nn
