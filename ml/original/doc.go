// Package original reads caption models that the original system has trained,
// a Python program on Keras, and makes models of the decoder "lstm-pooled" of
// them: from Keras' archive (*.keras), or from a file of weights alone
// (*.weights.h5, *.h5).
//
// An archive says how its layers are joined. That is compared with the one model
// that the original builds, and whatever else is there is refused: nothing in an
// archive is executed.
package original
