package tf

import (
	"fmt"
)

// Variable is a float32 array that lives in a session and outlasts a Run.
type Variable struct {
	Name  string
	Shape []int64
	// Handle is what operations that update the variable take.
	Handle Output
	// Value is what the variable held when the Run read it.
	Value Output

	feed   Output
	assign *Operation
}

// Len returns the number of elements.
func (v *Variable) Len() int { return elements(v.Shape) }

// Variables are the variables of a graph, in the order of their making.
type Variables struct {
	scope *Scope
	list  []*Variable
	named map[string]*Variable
}

// NewVariables returns an empty set for the graph of s.
func NewVariables(s *Scope) *Variables {
	return &Variables{scope: s.SubScope("variables"), named: make(map[string]*Variable)}
}

// Get returns the variable of that name, and makes it if there is none yet.
// A second shape for one name is an error in the scope.
func (v *Variables) Get(name string, shape ...int64) *Variable {
	if known, ok := v.named[name]; ok {
		if fmt.Sprint(known.Shape) != fmt.Sprint(shape) {
			v.scope.UpdateErr("VarHandleOp", fmt.Errorf("variable %q has shape %v and is used with %v", name, known.Shape, shape))
		}
		return known
	}
	s := v.scope.SubScope(name)
	made := &Variable{Name: name, Shape: shape}
	// Without a shared name all variables of one container are the same, silently.
	made.Handle = Out(s, "VarHandleOp", Attrs{"dtype": Float, "shape": MakeShape(shape...), "shared_name": name})
	made.Value = Out(s, "ReadVariableOp", Attrs{"dtype": Float}, made.Handle)
	made.feed = Placeholder(s, Float, shape...)
	made.assign = Add(s, "AssignVariableOp", Attrs{"dtype": Float}, made.Handle, made.feed)
	v.list = append(v.list, made)
	v.named[name] = made
	return made
}

// All returns the variables in the order of their making.
func (v *Variables) All() []*Variable { return v.list }

// Assign gives variables of the session new values, by name.
func (v *Variables) Assign(session *Session, values map[string]*Tensor) error {
	if len(values) == 0 {
		return nil
	}
	feeds := make(Feeds, len(values))
	targets := make([]*Operation, 0, len(values))
	for name, value := range values {
		variable, ok := v.named[name]
		if !ok {
			return fmt.Errorf("assign variables: there is no %q", name)
		}
		feeds[variable.feed] = value
		targets = append(targets, variable.assign)
	}
	if _, err := session.Run(feeds, nil, targets...); err != nil {
		return fmt.Errorf("assign variables: %w", err)
	}
	return nil
}

// Read returns the values of the named variables, or of all without names. The
// caller releases them.
func (v *Variables) Read(session *Session, names ...string) (map[string]*Tensor, error) {
	if len(names) == 0 {
		for _, variable := range v.list {
			names = append(names, variable.Name)
		}
	}
	fetches := make([]Output, len(names))
	for i, name := range names {
		variable, ok := v.named[name]
		if !ok {
			return nil, fmt.Errorf("read variables: there is no %q", name)
		}
		fetches[i] = variable.Value
	}
	results, err := session.Run(nil, fetches)
	if err != nil {
		return nil, fmt.Errorf("read variables: %w", err)
	}
	values := make(map[string]*Tensor, len(names))
	for i, name := range names {
		values[name] = results[i]
	}
	return values, nil
}

// ReleaseMap releases every tensor of the map.
func ReleaseMap(tensors map[string]*Tensor) {
	for _, t := range tensors {
		t.Release()
	}
}
