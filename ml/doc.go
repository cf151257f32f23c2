// Package ml is a map of the packages below it, from an image and its captions
// to a scored hypothesis. It holds no code.
//
// Data in:
//
//	ml/dataset   caption files, quarantine, splits: a captioner.Dataset
//	ml/text      cleaning, Vocabulary, token IDs and back
//	ml/images    formats, headers, limits and orientation, before anything decodes
//	ml/features  the shard file: pictures as pixels, mapped into memory
//	ml/hdf5      the part of the HDF5 format that Keras uses, read only
//	ml/keras     weights that Keras publishes and writes, matched to a network
//	ml/original  caption models that the original system has trained
//
// Weights out:
//
//	ml/safetensors  the file format of checkpoints and of exported weights
//
// The network, in TensorFlow and therefore only in captioner-engine:
//
//	ml/tf        the cgo boundary: tensors, sessions, saved models
//	ml/nn        layers that add themselves to a graph
//	ml/optim     optimisers and learning-rate schedules in the graph
//	ml/encoder   image encoders, by name
//	ml/model     the caption model, whole: weights, loss, the exported signatures
//	ml/train     the loop: steps, epochs, checkpoints, the best epoch
//	ml/predict   a loaded version: pictures in, ranked hypotheses out
//
// Captions out:
//
//	ml/decode    greedy search, beam search and sampling over a step function
//	ml/metrics   BLEU and what else a score is judged by
//
// Everything but the group of the network is pure Go and runs on both sides of
// the engine's socket. One letter names an axis throughout: B batch, T tokens,
// L locations, D feature width, E embedding width, H hidden width, N heads,
// V vocabulary, K hypotheses; images are [height, width, 3], RGB.
package ml
