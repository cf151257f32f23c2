package train

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/ml/text"
	"github.com/captioner/captioner/ml/tf"
)

// withVectors gives the request vectors for all words but "one" and "blue".
func withVectors(t *testing.T, req captioner.TrainRequest, width int) captioner.TrainRequest {
	t.Helper()
	v := text.Vectors{Width: width, Values: make([]float32, 10*width)}
	for _, id := range []int{4, 5, 7, 8} {
		for i := range width {
			v.Values[id*width+i] = float32(id) + float32(i)/10
		}
	}
	req.WordVectors = filepath.Join(t.TempDir(), "vectors")
	file, err := os.Create(req.WordVectors)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := v.Write(file); err != nil {
		t.Fatal(err)
	}
	return req
}

// opened returns a training at its start and the vectors of its words.
func opened(t *testing.T, req captioner.TrainRequest) (*run, []float32) {
	t.Helper()
	r := &run{req: req, write: tf.WriteTensors}
	t.Cleanup(r.close)
	if err := r.open(); err != nil {
		t.Fatal(err)
	}
	return r, table(t, r)
}

func table(t *testing.T, r *run) []float32 {
	t.Helper()
	values, err := r.graph.Weights.All().Read(r.session, "decoder/words/table")
	if err != nil {
		t.Fatal(err)
	}
	defer tf.ReleaseMap(values)
	return slices.Clone(values["decoder/words/table"].Float32s())
}

// Words start with their vectors; those without one at random where they are
// trained and as zeros where they are frozen, which a step leaves alone.
func TestWordVectors(t *testing.T) {
	for _, decoder := range []string{"transformer", "lstm-attention", "lstm-pooled"} {
		for _, frozen := range []bool{false, true} {
			name := decoder
			if frozen {
				name += ", frozen"
			}
			t.Run(name, func(t *testing.T) {
				req := testRequest(t)
				const width = 6
				req.Config.Model.Decoder, req.Config.Model.EmbeddingDim, req.Config.Model.EmbeddingFrozen = decoder, width, frozen
				r, start := opened(t, withVectors(t, req, width))
				for id := range 10 {
					row := start[id*width : (id+1)*width]
					switch has := slices.Contains([]int{4, 5, 7, 8}, id); {
					case has && (row[0] != float32(id) || math.Abs(float64(row[1])-float64(id)-0.1) > 1e-6):
						t.Errorf("token %d starts with %v", id, row)
					case !has && frozen != slices.Equal(row, make([]float32, width)):
						t.Errorf("token %d without a vector starts with %v", id, row)
					}
				}
				if err := r.step(); err != nil {
					t.Fatal(err)
				}
				if same := slices.Equal(start, table(t, r)); same != frozen {
					t.Errorf("after a step the vectors are the same: %v", same)
				}
			})
		}
	}
}

func TestWordVectorsOfAnotherWidth(t *testing.T) {
	req := withVectors(t, testRequest(t), 6)
	_, err := Run(t.Context(), req, nil, nil)
	if captioner.KindOf(err) != captioner.Invalid || !strings.Contains(err.Error(), "model.embedding_dim") {
		t.Errorf("error %v, want an invalid one that names model.embedding_dim", err)
	}
}
