package optim_test

import (
	"math"
	"testing"

	"github.com/captioner/captioner/ml/nn"
	"github.com/captioner/captioner/ml/optim"
	"github.com/captioner/captioner/ml/tf"
)

// adamReference is Algorithm 1 of Kingma and Ba in double precision.
type adamReference struct{ m, v []float64 }

func (a *adamReference) step(x, g []float64, t int, rate float64, o optim.Options) {
	norm := 0.0
	for _, d := range g {
		norm += d * d
	}
	clip := 1.0
	if norm = math.Sqrt(norm); o.ClipNorm > 0 && norm > o.ClipNorm {
		clip = o.ClipNorm / norm
	}
	for i := range x {
		d := g[i] * clip
		a.m[i] = o.Beta1*a.m[i] + (1-o.Beta1)*d
		a.v[i] = o.Beta2*a.v[i] + (1-o.Beta2)*d*d
		m := a.m[i] / (1 - math.Pow(o.Beta1, float64(t)))
		v := a.v[i] / (1 - math.Pow(o.Beta2, float64(t)))
		x[i] -= rate * m / (math.Sqrt(v) + o.Epsilon)
	}
}

// The loss Σ cᵢxᵢ² over two weights, for some steps against the reference.
func TestAdam(t *testing.T) {
	for name, clip := range map[string]float64{"unclipped": 0, "clipped": 0.5} {
		t.Run(name, func(t *testing.T) {
			options := optim.Options{Beta1: 0.9, Beta2: 0.98, Epsilon: 1e-9, ClipNorm: clip}
			s := tf.NewScope()
			variables := tf.NewVariables(s)
			weights := []*tf.Variable{variables.Get("a", 2), variables.Get("b", 1)}
			loss := nn.Add(s,
				nn.Sum(s, nn.Mul(s, tf.Out(s, "Square", nil, weights[0].Value), tf.Floats(s, []float32{1, 3})), 0),
				nn.Sum(s, nn.Scale(s, tf.Out(s, "Square", nil, weights[1].Value), 0.5), 0))
			gradients := tf.Gradients(s, []tf.Output{loss}, []tf.Output{weights[0].Value, weights[1].Value})
			adam := optim.NewAdam(s, options, variables, weights, gradients)
			graph, err := s.Finalize()
			if err != nil {
				t.Fatal(err)
			}
			session, err := tf.NewSession(graph, 2)
			if err != nil {
				t.Fatal(err)
			}
			defer session.Close()
			start := adam.Initial()
			start["a"], start["b"] = tf.FromFloat32([]float32{1, -2}, 2), tf.FromFloat32([]float32{0.5}, 1)
			defer tf.ReleaseMap(start)
			if err := variables.Assign(session, start); err != nil {
				t.Fatal(err)
			}

			x, c := []float64{1, -2, 0.5}, []float64{2, 6, 1}
			reference := adamReference{m: make([]float64, 3), v: make([]float64, 3)}
			for step := 1; step <= 5; step++ {
				g := make([]float64, 3)
				norm := 0.0
				for i := range g {
					g[i] = c[i] * x[i]
					norm += g[i] * g[i]
				}
				reference.step(x, g, step, 0.1, options)
				feeds := tf.Feeds{}
				adam.Feeds(feeds, step, 0.1)
				results, err := session.Run(feeds, []tf.Output{adam.Norm()}, adam.Updates()...)
				if err != nil {
					t.Fatal(err)
				}
				if got := float64(results[0].Float32s()[0]); math.Abs(got-math.Sqrt(norm)) > 1e-4 {
					t.Errorf("step %d: norm %.5f, want %.5f", step, got, math.Sqrt(norm))
				}
				tf.ReleaseAll(results)
				for _, f := range feeds {
					f.Release()
				}
			}
			values, err := variables.Read(session, "a", "b")
			if err != nil {
				t.Fatal(err)
			}
			defer tf.ReleaseMap(values)
			got := append(append([]float32{}, values["a"].Float32s()...), values["b"].Float32s()...)
			for i := range x {
				if math.Abs(float64(got[i])-x[i]) > 1e-5 {
					t.Errorf("weight %d is %.6f, want %.6f", i, got[i], x[i])
				}
			}
		})
	}
}

func TestCosine(t *testing.T) {
	s := optim.Cosine{Peak: 2, Warmup: 4, Steps: 14, Floor: 0.1}
	for step, want := range map[int]float64{
		1: 0.5, 2: 1, 4: 2,
		9:  2 * (0.1 + 0.9/2), // halfway down
		14: 0.2, 15: 0.2, 1000: 0.2,
	} {
		if got := s.Rate(step); math.Abs(got-want) > 1e-12 {
			t.Errorf("rate at step %d is %v, want %v", step, got, want)
		}
	}
	if got := (optim.Cosine{Peak: 1, Steps: 1, Floor: 0.5}).Rate(1); got != 0.5 {
		t.Errorf("rate of a one-step schedule is %v", got)
	}
}

func TestLossScale(t *testing.T) {
	l := optim.NewLossScale()
	start := l.Scale
	for range 1999 {
		l = l.After(true)
	}
	if l.Scale != start {
		t.Errorf("the scale is %v after 1999 good steps, want %v", l.Scale, start)
	}
	if l = l.After(true); l.Scale != 2*start || l.Good != 0 {
		t.Errorf("after 2000 good steps: %+v, want twice %v", l, start)
	}
	l = l.After(true).After(false).After(false)
	if want := (optim.LossScale{Scale: start / 2, Skipped: 2}); l != want {
		t.Errorf("after two overflows: %+v, want %+v", l, want)
	}
}
