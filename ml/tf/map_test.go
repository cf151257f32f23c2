package tf

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMap(t *testing.T) {
	g := NewGraph()
	s := ScopeOf(g)
	x := Placeholder(s, Float, -1, 3)
	// The places of the two largest, which are the second output of their operation.
	largest := Map(g, s.SubScope("a"), x, func(s *Scope, row Output) Output {
		return Add(s, "TopKV2", nil, row, Int(s, 2)).Output(1)
	})
	doubled := Map(g, s.SubScope("b"), x, func(s *Scope, row Output) Output { return Out(s, "AddV2", nil, row, row) })
	if dims := Dims(s, largest); !cmp.Equal(dims, []int64{-1, 2}) {
		t.Errorf("the result has sizes %v, want [-1 2]", dims)
	}
	sess := session(t, s)
	in := FromFloat32([]float32{1, 3, 2, 9, 7, 8}, 2, 3)
	defer in.Release()
	results, err := sess.Run(Feeds{x: in}, []Output{largest, doubled})
	if err != nil {
		t.Fatal(err)
	}
	defer ReleaseAll(results)
	if diff := cmp.Diff([]int32{1, 2, 0, 2}, results[0].Int32s()); diff != "" {
		t.Errorf("places of the largest (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]float32{2, 6, 4, 18, 14, 16}, results[1].Float32s()); diff != "" {
		t.Errorf("doubled (-want +got):\n%s", diff)
	}
}

func TestMapErrors(t *testing.T) {
	for name, f := range map[string]func(s *Scope, row Output) Output{
		"MatMul": func(s *Scope, row Output) Output { return Out(s, "MatMul", nil, row, row) },
		"no output 0": func(s *Scope, row Output) Output {
			return Add(s, "Unpack", Attrs{"num": int64(3), "axis": int64(0)}, row).Output(0)
		},
	} {
		g := NewGraph()
		s := ScopeOf(g)
		Map(g, s, Placeholder(s, Float, -1, 3), f)
		if _, err := s.Finalize(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("error %v, want one about %s", err, name)
		}
	}
}
