package tf

import (
	"fmt"

	graft "github.com/wamuir/graft/tensorflow"
	"google.golang.org/protobuf/proto"
)

// Placement returns the device, such as "/device:GPU:1", of the operation with
// the name; empty leaves it to TensorFlow.
type Placement func(operation string) (device string)

// place returns a copy of the graph with its operations on devices. Gradients
// cannot be built in a scope with a device, so that a graph is built without
// and placed when it is whole.
func place(g *Graph, placement Placement) (*Graph, error) {
	def, err := GraphDef(g)
	if err != nil {
		return nil, err
	}
	for _, node := range def.GetNode() {
		if device := placement(node.GetName()); device != "" {
			node.Device = device
		}
	}
	data, err := proto.Marshal(def)
	if err != nil {
		return nil, fmt.Errorf("place graph: %w", err)
	}
	placed := graft.NewGraph()
	if err := placed.Import(data, ""); err != nil {
		return nil, fmt.Errorf("place graph: %w", err)
	}
	return placed, nil
}
