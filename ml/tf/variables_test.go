package tf

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestVariables(t *testing.T) {
	s := NewScope()
	v := NewVariables(s)
	a, b := v.Get("layer/a", 2), v.Get("layer/b")
	if v.Get("layer/a", 2) != a {
		t.Error("a second Get made a second variable")
	}
	add := Add(s, "AssignAddVariableOp", Attrs{"dtype": Float}, a.Handle, Floats(s, []float32{1, 1}))
	sess := session(t, s)

	values := map[string]*Tensor{"layer/a": FromFloat32([]float32{1, 2}, 2), "layer/b": FromFloat32([]float32{7})}
	defer ReleaseMap(values)
	if err := v.Assign(sess, values); err != nil {
		t.Fatal(err)
	}
	if _, err := sess.Run(nil, nil, add); err != nil {
		t.Fatal(err)
	}
	read, err := v.Read(sess)
	if err != nil {
		t.Fatal(err)
	}
	defer ReleaseMap(read)
	// Were both one variable, as without shared_name, b would not be 7.
	if diff := cmp.Diff([]float32{2, 3}, read[a.Name].Float32s()); diff != "" {
		t.Errorf("a (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]float32{7}, read[b.Name].Float32s()); diff != "" {
		t.Errorf("b (-want +got):\n%s", diff)
	}
	if _, err := v.Read(sess, "none"); err == nil {
		t.Error("an unknown variable was read")
	}
	if err := v.Assign(sess, map[string]*Tensor{"none": values["layer/b"]}); err == nil {
		t.Error("an unknown variable was assigned")
	}
}

func TestVariableWithTwoShapes(t *testing.T) {
	s := NewScope()
	v := NewVariables(s)
	v.Get("a", 2)
	v.Get("a", 3)
	if _, err := s.Finalize(); err == nil {
		t.Error("one name was given two shapes")
	}
}
