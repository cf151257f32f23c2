// Package optim has what turns gradients into better weights: Adam with
// clipping by the global norm, as operations of the training graph, and
// learning-rate schedules, as plain arithmetic whose result is fed.
//
// Adam follows Kingma and Ba, "Adam: A Method for Stochastic Optimization",
// 2015. All that it remembers is in variables named adam/m/… and adam/v/…, and
// the step number, so that a checkpoint of the variables is all of its state.
package optim
