// Package keras reads the weights that Keras publishes and writes, without
// Keras: the applications' files (*_notop.h5, the layout of Keras 2, also
// written by Keras 3) and Keras 3's own (*.weights.h5). Neither says how the
// layers are joined. Whoever reads a file says what the network looks like, and
// each tensor has to be where that network has it, by name and by shape.
package keras

import (
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/ml/hdf5"
)

// Layer is a layer of a network that was built in Keras.
type Layer struct {
	// Name is what whoever reads the file calls the layer.
	Name string
	// Class is the layer's class as Keras 3 writes it: "conv2d".
	Class string
	// Inputs are the layers that it takes, by their places among the layers.
	Inputs []int
	// Weights are its weights in Keras' order.
	Weights []Weight
}

// Weight is a tensor of a layer.
type Weight struct {
	// Name is Keras': "kernel", "moving_mean". Of a layer within the layer it is
	// a path: "query/kernel".
	Name string
	// Shape has -1 for an axis of any size; see [Weights.Shape].
	Shape []int64
	// Path is where Keras 3 has the tensor below its layer: "cell/vars/0". Empty
	// is its number among the layer's own.
	Path string
}

// Weights are the tensors of a file.
type Weights struct {
	// Digest is that of the file.
	Digest captioner.Digest
	// Version is that of the Keras that wrote the file; empty where it does not say.
	Version string
	// Listed are the names of all layers in the file, those without weights
	// among them.
	Listed []string

	values map[string][]float32
	shapes map[string][]int64
}

// Shape returns the sizes of a layer's weight.
func (w *Weights) Shape(layer, weight string) []int64 { return w.shapes[layer+"/"+weight] }

// Values returns the elements of a layer's weight, nil for the ones that are
// not floating-point numbers.
func (w *Weights) Values(layer, weight string) []float32 { return w.values[layer+"/"+weight] }

// Count returns how many of the listed layers have the name that Keras gives
// to the layers of a class when nobody names them: "rescaling", "rescaling_1".
func (w *Weights) Count(class string) int {
	n := 0
	for _, name := range w.Listed {
		if _, ok := number(name, class); ok {
			n++
		}
	}
	return n
}

// tensor is what was found in the file in the place of a weight.
type tensor struct {
	name string
	data *hdf5.Dataset
}

// reader fills weights from a file and collects what does not match.
type reader struct {
	weights  Weights
	problems []captioner.Problem
}

// Read reads the weights of the layers from a file. They come in the order of
// their making; the layers that a layer takes come before it. A file of another
// network is Invalid, with every difference among its problems, a damaged one
// Corrupt.
func Read(name string, layers []Layer) (*Weights, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, captioner.Wrap(captioner.Invalid, err, "the weights file cannot be opened")
	}
	defer file.Close()
	digest, size, err := captioner.DigestReader(file)
	if err != nil {
		return nil, err
	}
	weights, err := ReadFrom(file, size, layers)
	if err != nil {
		return nil, err
	}
	weights.Digest = digest
	return weights, nil
}

// ReadFrom is Read for a file of that size which is open, or part of another. It
// leaves the digest empty.
func ReadFrom(file io.ReaderAt, size int64, layers []Layer) (*Weights, error) {
	r := &reader{weights: Weights{values: make(map[string][]float32), shapes: make(map[string][]int64)}}
	contents, err := hdf5.New(file, size)
	if err != nil {
		return nil, err
	}
	root, err := contents.Root()
	if err != nil {
		return nil, err
	}
	if err := r.read(root, ordered(layers)); err != nil {
		return nil, err
	}
	if len(r.problems) > 0 {
		return nil, &captioner.Error{
			Kind: captioner.Invalid, Code: "weights_mismatch", Problems: r.problems,
			Message: fmt.Sprintf("the weights are not this network's, %d differences", len(r.problems)),
		}
	}
	return &r.weights, nil
}

// Check returns an error unless the size bytes that r holds are a whole file of
// weights in one of the layouts; whose weights, only Read finds out.
func Check(r io.ReaderAt, size int64) error {
	file, err := hdf5.New(r, size)
	if err != nil {
		return err
	}
	root, err := file.Root()
	if err != nil {
		return err
	}
	_, _, err = layout(root)
	return err
}

// layout tells the layouts apart by what only one of them has. It returns the
// group that has the layers, and whether that is Keras 2's.
func layout(root *hdf5.Group) (_ *hdf5.Group, legacy bool, err error) {
	names := root.Names()
	if slices.Contains(names, "model_weights") { // a whole model of Keras 2
		sub, err := root.Group("model_weights")
		return sub, true, err
	}
	listed, err := attributeList(root, "layer_names")
	switch {
	case err != nil || listed != nil:
		return root, true, err
	case slices.Contains(names, "layers"):
		return root, false, nil
	}
	return nil, false, captioner.Errorf(captioner.Invalid, "the HDF5 file holds no weights of Keras: it has neither the attribute layer_names nor the group layers")
}

func (r *reader) read(root *hdf5.Group, layers []Layer) error {
	group, legacy, err := layout(root)
	switch {
	case err != nil:
		return err
	case legacy:
		return r.readLegacy(group, layers)
	}
	return r.readNumbered(group, layers)
}

// layer takes the tensors that the file has for a layer, which it calls there.
func (r *reader) layer(l Layer, there string, found []tensor) error {
	if len(found) != len(l.Weights) {
		r.differ(there, "has %d tensors, %s has %d", len(found), l.Name, len(l.Weights))
		return nil
	}
	for i, w := range l.Weights {
		t := found[i]
		switch shape := t.data.Shape(); {
		case t.name != "" && !sameName(t.name, w.Name):
			r.differ(t.data.Path(), "is called %s, and %s of %s should be there", path.Base(t.name), w.Name, l.Name)
			continue
		case !slices.EqualFunc(shape, w.Shape, func(there, want int64) bool { return want < 0 || there == want }):
			r.differ(t.data.Path(), "has the shape %v, %s of %s has %v", shape, w.Name, l.Name, w.Shape)
			continue
		}
		if t.data.Integers() {
			continue // a counter
		}
		values, err := t.data.Float32s()
		if err != nil {
			return err
		}
		r.weights.values[l.Name+"/"+w.Name], r.weights.shapes[l.Name+"/"+w.Name] = values, t.data.Shape()
	}
	return nil
}

func (r *reader) differ(field, format string, args ...any) {
	r.problems = append(r.problems, captioner.Problem{Field: field, Message: fmt.Sprintf(format, args...)})
}

// sameName compares the name of a weight in the file, a path, with Keras 3's:
// Keras 2 had another for one of them.
func sameName(there, name string) bool {
	return there == name || there == "depthwise_"+name || strings.HasSuffix(there, "/"+name) || strings.HasSuffix(there, "/depthwise_"+name)
}
