package mlflowtest

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// Fake is for benchmarks, whose subject is not MLflow: a server that believes
// everything and keeps nothing. It counts the runs that were ended.
func Fake(t testing.TB) (address string, ended *atomic.Int64) {
	ended = &atomic.Int64{}
	const run = `{"run": {"info": {"run_id": "0123", "experiment_id": "1", "artifact_uri": "mlflow-artifacts:/1/0123/artifacts"}}}`
	replies := map[string]string{
		"experiments/get-by-name": `{"experiment": {"experiment_id": "1"}}`, "runs/create": run, "runs/get": run,
		"model-versions/create": `{"model_version": {"version": "1"}}`,
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		path := strings.TrimPrefix(r.URL.Path, "/api/2.0/mlflow/")
		if path == "runs/update" {
			ended.Add(1)
		}
		if reply, ok := replies[path]; ok {
			fmt.Fprint(w, reply)
		} else {
			fmt.Fprint(w, "{}")
		}
	}))
	t.Cleanup(server.Close)
	return server.URL, ended
}
