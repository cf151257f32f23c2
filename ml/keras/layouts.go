package keras

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/ml/hdf5"
)

// readLegacy reads the layout of Keras 2: a list of layers, and for each a list
// of its tensors. Keras numbers the layers that nobody has named through all
// models of a process, so their names say nothing, and the layers that have
// tensors are matched by their order.
func (r *reader) readLegacy(root *hdf5.Group, layers []Layer) error {
	listed, err := attributeList(root, "layer_names")
	if err != nil {
		return err
	}
	r.weights.Listed = listed
	version, err := root.Strings("keras_version")
	if err != nil {
		return err
	}
	r.weights.Version = strings.Join(version, "")

	type stored struct {
		name    string
		tensors []tensor
	}
	var file []stored
	for _, name := range listed {
		group, err := root.Group(name)
		if err != nil {
			return damaged(err, "layer", name)
		}
		tensors, err := legacyTensors(group)
		if err != nil {
			return err
		}
		if len(tensors) > 0 {
			file = append(file, stored{name, tensors})
		}
	}
	layers = slices.DeleteFunc(slices.Clone(layers), func(l Layer) bool { return len(l.Weights) == 0 })
	for i := range max(len(file), len(layers)) {
		switch {
		case i >= len(layers):
			r.differ(file[i].name, "is one layer too many")
		case i >= len(file):
			r.differ(layers[i].Name, "is missing")
		default:
			if err := r.layer(layers[i], file[i].name, file[i].tensors); err != nil {
				return err
			}
		}
	}
	return nil
}

// legacyTensors returns the tensors of a layer in the order of their list.
// Their names there are paths below the layer's group, and Keras 2 ended them
// with the number of an operation's output: "stem_conv/kernel:0".
func legacyTensors(group *hdf5.Group) ([]tensor, error) {
	names, err := attributeList(group, "weight_names")
	if err != nil {
		return nil, err
	}
	tensors := make([]tensor, len(names))
	for i, path := range names {
		if tensors[i].data, err = group.Dataset(path); err != nil {
			return nil, damaged(err, "tensor", path)
		}
		tensors[i].name = strings.TrimSuffix(path, ":0")
	}
	return tensors, nil
}

// attributeList returns a list of names. Keras cuts one that is larger than an
// attribute can be into pieces with numbers.
func attributeList(group *hdf5.Group, name string) ([]string, error) {
	list, err := group.Strings(name)
	if list != nil || err != nil {
		return list, err
	}
	for i := 0; ; i++ {
		piece, err := group.Strings(name + strconv.Itoa(i))
		if err != nil {
			return nil, err
		}
		if piece == nil {
			return list, nil
		}
		list = append(list, piece...)
	}
}

// readNumbered reads the layout of Keras 3: layers/conv2d_3/vars/0. The number
// counts the layers of a class in the order of the model, which is not the
// number in the layer's name, and the tensors have numbers for names.
func (r *reader) readNumbered(root *hdf5.Group, layers []Layer) error {
	file, err := root.Group("layers")
	if err != nil {
		return err
	}
	r.weights.Listed = file.Names()
	counts, known := map[string]int{}, map[string]bool{}
	for _, l := range layers {
		name := l.Class
		if n := counts[l.Class]; n > 0 {
			name = fmt.Sprintf("%s_%d", l.Class, n)
		}
		counts[l.Class]++
		known[name] = true
		if len(l.Weights) == 0 {
			continue
		}
		tensors, err := numberedTensors(file, name, l.Weights)
		switch {
		case captioner.KindOf(err) == captioner.NotFound:
			r.differ("layers/"+name, "is missing, which %s needs", l.Name)
			continue
		case err != nil:
			return err
		}
		if err := r.layer(l, "layers/"+name, tensors); err != nil {
			return err
		}
	}
	return r.unexpected(file, known)
}

// unexpected reports the layers of the file that have tensors and are not known.
func (r *reader) unexpected(file *hdf5.Group, known map[string]bool) error {
	for _, name := range file.Names() {
		if known[name] {
			continue
		}
		group, err := file.Group(name)
		if err != nil {
			return err
		}
		count := 0
		if err := group.Walk(func(*hdf5.Dataset) error { count++; return nil }); err != nil {
			return err
		}
		if count > 0 {
			r.differ("layers/"+name, "is one layer too many")
		}
	}
	return nil
}

// numberedTensors returns the tensors of a layer: those with paths, or its own,
// which have the numbers 0, 1, 2 … for names.
func numberedTensors(file *hdf5.Group, layer string, weights []Weight) (tensors []tensor, err error) {
	if weights[0].Path != "" {
		tensors = make([]tensor, len(weights))
		for i, w := range weights {
			if tensors[i].data, err = file.Dataset(layer + "/" + w.Path); err != nil {
				return nil, err
			}
		}
		return tensors, nil
	}
	vars, err := file.Group(layer + "/vars")
	if err != nil {
		return nil, err
	}
	tensors = make([]tensor, len(vars.Names()))
	for i := range tensors {
		if tensors[i].data, err = vars.Dataset(strconv.Itoa(i)); err != nil {
			return nil, damaged(err, "tensor", vars.Path())
		}
	}
	return tensors, nil
}

// damaged makes what a list names and the file lacks an error of kind Corrupt.
func damaged(err error, what, name string) error {
	if captioner.KindOf(err) != captioner.NotFound {
		return err
	}
	return captioner.Wrap(captioner.Corrupt, err, "the HDF5 file lists the %s %q and does not have it", what, name)
}
