package optim

import "github.com/captioner/captioner/ml/tf"

// Sums add up gradients over several runs of a graph. They are no state of a
// training: between steps nothing reads them.
type Sums struct {
	variables  []*tf.Variable
	start, add []*tf.Operation
}

// NewSums adds to s a sum for the gradient of every weight.
func NewSums(s *tf.Scope, weights []*tf.Variable, gradients []tf.Output) *Sums {
	s = s.SubScope("sums")
	variables, sums := tf.NewVariables(s), &Sums{}
	for i, w := range weights {
		v := variables.Get("sum/"+w.Name, w.Shape...)
		sums.variables = append(sums.variables, v)
		sums.start = append(sums.start, tf.Add(s, "AssignVariableOp", tf.Attrs{"dtype": tf.Float}, v.Handle, gradients[i]))
		sums.add = append(sums.add, tf.Add(s, "AssignAddVariableOp", tf.Attrs{"dtype": tf.Float}, v.Handle, gradients[i]))
	}
	return sums
}

// Start are the targets of a step's first run: the sums become its gradients.
func (s *Sums) Start() []*tf.Operation { return s.start }

// Add are the targets of each later run: its gradients join the sums.
func (s *Sums) Add() []*tf.Operation { return s.add }

// Values are the sums, for a run of their own.
func (s *Sums) Values() []tf.Output {
	values := make([]tf.Output, len(s.variables))
	for i, v := range s.variables {
		values[i] = v.Value
	}
	return values
}
