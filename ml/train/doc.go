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
package train
