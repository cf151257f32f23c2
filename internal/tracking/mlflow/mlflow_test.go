package mlflow_test

import (
	"encoding/pem"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/tracking/mlflow"
	"github.com/captioner/captioner/internal/tracking/mlflow/mlflowtest"
)

var start = time.Date(2026, 5, 1, 12, 0, 0, 123_456_000, time.UTC)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func dial(t *testing.T, o mlflow.Options) *mlflow.Client {
	t.Helper()
	c, err := mlflow.New(o)
	must(t, err)
	return c
}

// begin makes a run on the server.
func begin(t *testing.T, c *mlflow.Client, name string) mlflow.Run {
	t.Helper()
	experiment, err := c.Experiment(t.Context(), "captions")
	must(t, err)
	run, err := c.CreateRun(t.Context(), experiment, name, start, []mlflow.Tag{{Key: "captioner.run_id", Value: name}})
	must(t, err)
	return run
}

// read returns the run as MLflow's own client sees it.
func read(t *testing.T, s *mlflowtest.Server, id string) mlflowtest.Run {
	t.Helper()
	for _, r := range s.Read(t, "captions").Runs {
		if r.ID == id {
			return r
		}
	}
	t.Fatalf("the server does not have the run %s", id)
	return mlflowtest.Run{}
}

// TestServer speaks to a real server and reads with MLflow's own client.
func TestServer(t *testing.T) {
	s := mlflowtest.Start(t, mlflowtest.Options{})
	c := dial(t, mlflow.Options{URI: s.URL})
	must(t, c.Check(t.Context(), "captions"))
	t.Run("Run", func(t *testing.T) { testRun(t, s, c) })
	t.Run("Limits", func(t *testing.T) { testLimits(t, s, c) })
	t.Run("Repeated", func(t *testing.T) { testRepeated(t, s, c) })
	t.Run("Models", func(t *testing.T) { testModels(t, s, c) })
	t.Run("Refusals", func(t *testing.T) { testRefusals(t, c) })
	t.Run("TLSAndToken", func(t *testing.T) { testTLSAndToken(t, s) })
}

func testRun(t *testing.T, s *mlflowtest.Server, c *mlflow.Client) {
	run := begin(t, c, "train-1")
	must(t, c.LogBatch(t.Context(), run.ID, mlflow.Batch{
		Params: []mlflow.Param{{Key: "training.steps", Value: "9"}, {Key: "data.images", Value: ""}},
		Tags:   []mlflow.Tag{{Key: "note", Value: "ä"}},
		Metrics: []mlflow.Metric{
			{Key: "loss", Value: 0.1, Step: 1, Time: start}, {Key: "loss", Value: math.NaN(), Step: 2, Time: start},
			{Key: "loss", Value: math.Inf(1), Step: 3, Time: start}, {Key: "scores/beam/pair f1%", Value: 1, Step: 3, Time: start},
		},
	}))
	for name, content := range map[string]string{"config.json": "{}", "bundle/saved model/é.pb": "\x00\x01", "empty": ""} {
		must(t, c.Upload(t.Context(), run, name, int64(len(content)), strings.NewReader(content)))
	}
	must(t, c.EndRun(t.Context(), run.ID, mlflow.Finished, start.Add(time.Minute)))

	at := float64(start.UnixMilli())
	want := mlflowtest.Run{
		ID: run.ID, Name: "train-1", Status: "FINISHED",
		StartTime: start.UnixMilli(), EndTime: start.UnixMilli() + 60_000,
		Params: map[string]string{"training.steps": "9", "data.images": ""},
		Tags:   map[string]string{"note": "ä", "captioner.run_id": "train-1", "mlflow.runName": "train-1"},
		Metrics: map[string][][3]any{
			"loss":                 {{1., 0.1, at}, {2., "nan", at}, {3., math.MaxFloat64, at}}, // its infinity
			"scores/beam/pair f1_": {{3., 1., at}},
		},
		Artifacts: map[string]string{"config.json": "{}", "bundle/saved model/é.pb": "\x00\x01", "empty": ""},
	}
	if diff := cmp.Diff(want, read(t, s, run.ID)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	found, err := c.RunsTagged(t.Context(), run.ExperimentID, "captioner.run_id", "train-1")
	must(t, err)
	if len(found) != 1 || found[0].ID != run.ID || found[0].Steps["loss"] != 3 || found[0].ArtifactURI != run.ArtifactURI {
		t.Errorf("found by its tag: %+v", found)
	}
	if none, err := c.RunsTagged(t.Context(), run.ExperimentID, "captioner.run_id", "other"); err != nil || len(none) != 0 {
		t.Errorf("found by another tag: %+v, %v", none, err)
	}
}

// testLimits logs more and longer than a request may hold.
func testLimits(t *testing.T, s *mlflowtest.Server, c *mlflow.Client) {
	run := begin(t, c, "limits")
	var b mlflow.Batch
	for i := range 2345 {
		b.Metrics = append(b.Metrics, mlflow.Metric{Key: "loss", Value: 1, Step: i, Time: start})
	}
	for i := range 234 {
		b.Params = append(b.Params, mlflow.Param{Key: fmt.Sprintf("p%d", i), Value: strings.Repeat("é", 6000)})
		b.Tags = append(b.Tags, mlflow.Tag{Key: fmt.Sprintf("t%d", i), Value: "v"})
	}
	b.Params = append(b.Params, mlflow.Param{Key: strings.Repeat("k", 300), Value: strings.Repeat("語", 6001)})
	b.Tags = append(b.Tags, mlflow.Tag{Key: "long", Value: strings.Repeat("語", 8001)})
	must(t, c.LogBatch(t.Context(), run.ID, b))

	got := read(t, s, run.ID)
	if len(got.Metrics["loss"]) != 2345 || len(got.Params) != 235 || len(got.Tags) != 237 {
		t.Errorf("%d points, %d parameters, %d tags, want all 2345, 235, 237", len(got.Metrics["loss"]), len(got.Params), len(got.Tags))
	}
	if got.Params["p7"] != strings.Repeat("é", 6000) || got.Params[strings.Repeat("k", 250)] != strings.Repeat("語", 5998)+" …" ||
		got.Tags["long"] != strings.Repeat("語", 7998)+" …" {
		t.Error("long values are not those that were given, or cut where they are too long")
	}
	steps, err := c.MetricSteps(t.Context(), run.ID, "loss")
	must(t, err)
	if len(steps) != 2345 || !steps[0] || !steps[2344] || steps[2345] {
		t.Errorf("%d steps", len(steps))
	}
}

// testRepeated: what was delivered and not known to be is delivered again.
func testRepeated(t *testing.T, s *mlflowtest.Server, c *mlflow.Client) {
	run := begin(t, c, "again")
	b := mlflow.Batch{
		Params: []mlflow.Param{{Key: "p", Value: strings.Repeat("x", 7000)}}, Tags: []mlflow.Tag{{Key: "t", Value: "v"}},
		Metrics: []mlflow.Metric{{Key: "loss", Value: 0.1, Step: 1, Time: start}, {Key: "loss", Value: math.NaN(), Step: 2, Time: start}},
	}
	must(t, c.LogBatch(t.Context(), run.ID, b))
	b.Metrics = append(b.Metrics, mlflow.Metric{Key: "loss", Value: 0.1, Step: 3, Time: start})
	must(t, c.LogBatch(t.Context(), run.ID, b))
	if got := read(t, s, run.ID); len(got.Metrics["loss"]) != 3 {
		t.Errorf("points %v, want one for each step", got.Metrics)
	}
}

func testModels(t *testing.T, s *mlflowtest.Server, c *mlflow.Client) {
	run := begin(t, c, "models")
	_, err := c.ModelVersionTagged(t.Context(), "captioner", "captioner.version", "aa")
	if captioner.KindOf(err) != captioner.NotFound {
		t.Errorf("a version that is not there: %v", err)
	}
	var made []mlflow.ModelVersion
	for _, digest := range []string{"aa", "bb"} {
		v, err := c.CreateModelVersion(t.Context(), mlflow.ModelVersion{
			Name: "captioner", RunID: run.ID, Source: "runs:/" + run.ID + "/bundle", Description: "of " + digest,
			Tags: []mlflow.Tag{{Key: "captioner.version", Value: digest}},
		})
		must(t, err)
		must(t, c.SetAlias(t.Context(), "captioner", "sha-"+digest, v.Version))
		made = append(made, v)
	}
	found, err := c.ModelVersionTagged(t.Context(), "captioner", "captioner.version", "bb")
	must(t, err)
	if found.Version != made[1].Version {
		t.Errorf("found %+v, want version %s", found, made[1].Version)
	}
	for _, v := range made {
		must(t, c.SetAlias(t.Context(), "captioner", "production", v.Version))
	}
	var want []mlflowtest.ModelVersion
	for i, digest := range []string{"aa", "bb"} {
		want = append(want, mlflowtest.ModelVersion{
			Version: made[i].Version, RunID: run.ID, Source: "runs:/" + run.ID + "/bundle", Description: "of " + digest,
			Tags: map[string]string{"captioner.version": digest}, Aliases: []string{"sha-" + digest},
		})
	}
	want[1].Aliases = []string{"production", "sha-bb"}
	if diff := cmp.Diff(want, s.Read(t, "captions").Models["captioner"]); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func testRefusals(t *testing.T, c *mlflow.Client) {
	_, err := c.Run(t.Context(), "0123456789abcdef0123456789abcdef")
	if captioner.KindOf(err) != captioner.NotFound || !mlflow.Refused(err) {
		t.Errorf("a run that is not there: %v", err)
	}
	run := begin(t, c, "refused")
	must(t, c.LogBatch(t.Context(), run.ID, mlflow.Batch{Params: []mlflow.Param{{Key: "p", Value: "1"}}}))
	err = c.LogBatch(t.Context(), run.ID, mlflow.Batch{Params: []mlflow.Param{{Key: "p", Value: "2"}}})
	if captioner.KindOf(err) != captioner.Invalid || !mlflow.Refused(err) {
		t.Errorf("another value for a parameter: %v", err)
	}
	run.ArtifactURI = "s3://bucket/folder"
	if err := c.Upload(t.Context(), run, "a", 0, nil); captioner.KindOf(err) != captioner.NotFound {
		t.Errorf("artifacts that lie elsewhere: %v", err)
	}
}

// testTLSAndToken speaks to the server through a proxy that asks for both, as
// one in front of MLflow does.
func testTLSAndToken(t *testing.T, s *mlflowtest.Server) {
	target, err := url.Parse(s.URL)
	must(t, err)
	forward := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}
	proxy := httptest.NewTLSServer(http.StripPrefix("/tracking", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer sesame" {
			http.Error(w, "no", http.StatusUnauthorized)
			return
		}
		forward.ServeHTTP(w, r)
	})))
	defer proxy.Close()
	authority := filepath.Join(t.TempDir(), "ca.pem")
	must(t, os.WriteFile(authority, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: proxy.Certificate().Raw}), 0o600))

	address := proxy.URL + "/tracking/"
	for _, test := range []struct {
		name string
		mlflow.Options
		want string // of the error; empty for none
	}{
		{"its authority", mlflow.Options{URI: address, Token: "sesame", ServerCert: authority}, ""},
		{"any authority", mlflow.Options{URI: address, Token: "sesame", InsecureTLS: true}, ""},
		{"no token", mlflow.Options{URI: address, ServerCert: authority}, "does not accept the credentials"},
		{"another token", mlflow.Options{URI: address, Token: "tahini", ServerCert: authority}, "does not accept the credentials"},
		{"the machine's authorities", mlflow.Options{URI: address, Token: "sesame"}, "certificate is not trusted"},
		{"TLS where there is none", mlflow.Options{URI: strings.Replace(s.URL, "http:", "https:", 1)}, "does not speak TLS"},
		{"none where there is TLS", mlflow.Options{URI: strings.Replace(address, "https:", "http:", 1)}, "no MLflow tracking server"},
	} {
		c := dial(t, test.Options)
		err := c.Check(t.Context(), "captions")
		if test.want == "" && err != nil || test.want != "" && (captioner.KindOf(err) != captioner.Invalid || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
		if test.want == "" {
			run := begin(t, c, "behind a proxy")
			must(t, c.Upload(t.Context(), run, "a", 1, strings.NewReader("a")))
		}
	}
}

// TestUsers speaks to a server that knows its users.
func TestUsers(t *testing.T) {
	s := mlflowtest.Start(t, mlflowtest.Options{Users: true})
	within, err := url.Parse(s.URL)
	must(t, err)
	within.User = url.UserPassword(mlflowtest.Admin, mlflowtest.AdminPassword)
	for _, o := range []mlflow.Options{
		{URI: s.URL, Username: mlflowtest.Admin, Password: mlflowtest.AdminPassword}, {URI: within.String()},
	} {
		c := dial(t, o)
		must(t, c.Check(t.Context(), "captions"))
		run := begin(t, c, "known")
		must(t, c.Upload(t.Context(), run, "a", 1, strings.NewReader("a")))
		if got := read(t, s, run.ID); got.Artifacts["a"] != "a" {
			t.Errorf("artifacts %v", got.Artifacts)
		}
		if c.Address() != s.URL {
			t.Errorf("address %s, want it without credentials", c.Address())
		}
	}
	for _, o := range []mlflow.Options{{URI: s.URL}, {URI: s.URL, Username: mlflowtest.Admin, Password: "another"}} {
		if err := dial(t, o).Check(t.Context(), "captions"); captioner.KindOf(err) != captioner.Invalid || !strings.Contains(err.Error(), "credentials") {
			t.Errorf("user %q: %v", o.Username, err)
		}
	}
}

// TestSomethingElse checks addresses at which no MLflow answers.
func TestSomethingElse(t *testing.T) {
	for _, test := range []struct {
		name    string
		handler http.HandlerFunc
		kind    captioner.Kind
		want    string
	}{
		{"a page", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") }, captioner.Invalid, "no MLflow tracking server"},
		{"other JSON", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "{}") }, captioner.Invalid, "no MLflow tracking server"},
		{"not found", http.NotFound, captioner.Invalid, "no MLflow tracking server"},
		{"a redirect", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/login", http.StatusFound) }, captioner.Invalid, "no MLflow tracking server"},
		{"forbidden", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusForbidden) }, captioner.Invalid, "does not let this user"},
		{"a proxy without MLflow", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusBadGateway) }, captioner.Unavailable, "cannot answer now"},
		{"a deleted experiment", func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `{"experiment": {"experiment_id": "1", "lifecycle_stage": "deleted"}}`)
		}, captioner.Invalid, "is deleted"},
	} {
		server := httptest.NewServer(test.handler)
		err := dial(t, mlflow.Options{URI: server.URL}).Check(t.Context(), "captions")
		server.Close()
		if captioner.KindOf(err) != test.kind || !strings.Contains(err.Error(), test.want) || mlflow.Refused(err) {
			t.Errorf("%s: %v, want %s and %q", test.name, err, test.kind, test.want)
		}
	}
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	if err := dial(t, mlflow.Options{URI: gone.URL}).Check(t.Context(), "captions"); captioner.KindOf(err) != captioner.Unavailable {
		t.Errorf("nobody answers: %v", err)
	}
}

// TestSettings reads MLflow's variables and refuses what cannot work.
func TestSettings(t *testing.T) {
	environment := map[string]string{
		"MLFLOW_TRACKING_URI": "https://host/path/", "MLFLOW_TRACKING_TOKEN": "t", "MLFLOW_TRACKING_INSECURE_TLS": "True",
	}
	options := mlflow.FromEnvironment(func(name string) string { return environment[name] })
	if diff := cmp.Diff(mlflow.Options{URI: "https://host/path/", Token: "t", InsecureTLS: true}, options); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if c := dial(t, options); c.Address() != "https://host/path" {
		t.Errorf("address %s", c.Address())
	}

	_, err := mlflow.New(mlflow.Options{
		URI: "sqlite:///mlflow.db", Username: "me", Token: "t", InsecureTLS: true, ServerCert: "/does/not/exist", ClientCert: "/neither",
	})
	var fields []string
	for _, p := range captioner.ProblemsOf(err) {
		fields = append(fields, strings.TrimPrefix(p.Field, "MLFLOW_TRACKING_"))
	}
	want := []string{"URI", "USERNAME", "TOKEN", "INSECURE_TLS", "SERVER_CERT_PATH", "CLIENT_CERT_PATH"}
	if diff := cmp.Diff(want, fields); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	for _, uri := range []string{"", "host:5000", "databricks", "http://", "http://host/?a=b"} {
		if _, err := mlflow.New(mlflow.Options{URI: uri}); captioner.KindOf(err) != captioner.Invalid {
			t.Errorf("%q: %v, want it refused", uri, err)
		}
	}
}
