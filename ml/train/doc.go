// Package train is the training loop: it reads a prepared data set and its
// pixel shards, takes optimiser steps, validates after each epoch, keeps the
// best weights, saves checkpoints and exports the result. What is computed in
// a step is package model's affair.
//
// A training is repeatable bit by bit on the same kind of machine with the
// same number of threads, also when it was killed and resumed any number of
// times: the order of the pictures is a function of (seed, epoch), crops and
// the choice of captions of (seed, step), dropout of (seed, step, layer), the
// learning rate of the step, and everything else is in the checkpoint.
//
// A checkpoint, the last one of a training that has ended too, can also be gone
// on from by another training, of more epochs or at another rate: everything is
// as it was, the state of the optimiser, the best epoch and the place in the
// order of the pictures. With a schedule that does not look at the end, two
// epochs and two more are the four epochs of one training, bit by bit. A cosine
// is that of the new length: its rate jumps up to where a training of that
// length would be.
package train
