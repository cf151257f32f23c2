package api_test

import (
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/api"
)

func TestRuns(t *testing.T) {
	jsonHeader := map[string]string{"Content-Type": "application/json"}
	post := func(name, path, body string, header map[string]string) scenario {
		return scenario{name: name, method: http.MethodPost, path: path, body: body, header: header}
	}
	with := func(sc scenario, prepare func(*fake)) scenario { sc.prepare = prepare; return sc }
	seen := func(sc scenario, keys []string, seed uint64) scenario {
		sc.check = func(t *testing.T, f *fake) {
			if diff := gocmp.Diff(keys, f.keys); diff != "" {
				t.Errorf("keys (-want +got):\n%s", diff)
			}
			if len(f.started) == 1 && f.started[0].Data.Seed != seed {
				t.Errorf("started with seed %d, want %d", f.started[0].Data.Seed, seed)
			}
			if len(f.started) == 1 && strings.Contains(sc.name, "preset") != (f.started[0].Model.Decoder == "lstm-attention") {
				t.Errorf("started with the decoder %s", f.started[0].Model.Decoder)
			}
		}
		return sc
	}
	key := func(k string) map[string]string {
		h := maps.Clone(jsonHeader)
		h["Idempotency-Key"] = k
		return h
	}
	away := func(f *fake) {
		f.err = captioner.Errorf(captioner.Unavailable, "the workflow service cannot be reached")
	}

	run(t, []scenario{
		seen(post("start", "/runs", `{"data": {"seed": 5}}`, key("abc")), []string{"abc"}, 5),
		seen(post("start with the defaults", "/runs", "", nil), []string{""}, 42),
		seen(post("start from YAML", "/runs", "data:\n  seed: 7\n", map[string]string{"Content-Type": "application/yaml; charset=utf-8"}), []string{""}, 7),
		seen(post("start with a preset", "/runs", `{"preset": "flickr8k", "data": {"seed": 9}}`, jsonHeader), []string{""}, 9),
		seen(post("unknown preset", "/runs", `{"preset": "flickr9k"}`, jsonHeader), nil, 0),
		seen(post("resume", "/runs?resume=by%2Fhand", `{"training": {"epochs": 4}}`, key("abc")), []string{"abc after by/hand"}, 8),
		seen(post("resume, dry run", "/runs?dry_run=1&resume=by%2Fhand", "", nil), nil, 0),
		seen(post("resume with other data", "/runs?resume=by%2Fhand", `{"data": {"seed": 5}, "training": {"epochs": -1}}`, jsonHeader), nil, 0),
		seen(post("resume what is under way", "/runs?resume=train-01", "{}", jsonHeader), nil, 0),
		seen(post("resume what there is not", "/runs?resume=train-99", "{}", jsonHeader), nil, 0),
		seen(post("resume with YAML", "/runs?resume=by%2Fhand", "training:\n  epochs: 4\n", map[string]string{"Content-Type": "application/yaml"}), nil, 0),
		seen(post("dry run", "/runs?dry_run=1", "{}", jsonHeader), nil, 0),
		seen(with(post("dry run that fails", "/runs?dry_run=true", "{}", jsonHeader), func(f *fake) {
			f.err = &captioner.Error{Kind: captioner.Invalid, Code: "invalid_config", Message: "the configuration cannot work",
				Problems: []captioner.Problem{{Field: "data.images", Message: "does not exist"}, {Field: "data.captions", Message: "cannot be read"}}}
		}), nil, 0),
		seen(with(post("dry run that fails here and there", "/runs?dry_run=1", `{"training": {"batch_size": 0}}`, jsonHeader), func(f *fake) {
			f.err = &captioner.Error{Kind: captioner.Invalid, Code: "invalid_config", Message: "the configuration is invalid",
				Problems: []captioner.Problem{{Field: "training.batch_size", Message: "must be from 1 to 4096, is 0"}, {Field: "data.images", Message: "does not exist"}}}
		}), nil, 0),
		seen(with(post("dry run without a worker", "/runs?dry_run=1", `{"training": {"batch_size": 0}}`, jsonHeader), func(f *fake) {
			f.err = captioner.Errorf(captioner.Unavailable, "no worker has checked the configuration")
		}), nil, 0),
		with(post("dry run of unusable data", "/runs?dry_run=1", "{}", jsonHeader), func(f *fake) {
			f.err = &captioner.Error{Kind: captioner.Invalid, Code: "unusable_data", Message: "the data set cannot be used"}
		}),
		with(post("key of another configuration", "/runs", "{}", key("abc")), func(f *fake) {
			f.err = &captioner.Error{Kind: captioner.Conflict, Code: "idempotency_key_reused", Message: "this idempotency key was used before, with another configuration"}
		}),
		post("dry run misspelt", "/runs?dry_run=perhaps", "{}", jsonHeader),
		seen(post("all problems at once", "/runs", "{\"traning\": {},\n \"training\": {\"steps\": \"many\", \"batch_size\": 0},\n \"data\": {\"images\": \"/etc\", \"captions\": \"a.csv\"}}", jsonHeader), nil, 0),
		seen(post("all problems of YAML", "/runs", "traning:\n  steps: 1\ndata:\n  seed: -1\n", map[string]string{"Content-Type": "text/yaml"}), nil, 0),
		seen(post("not JSON", "/runs", "{", jsonHeader), nil, 0),
		seen(post("all paths at once", "/runs", `{"data": {"images": "/etc", "captions": "a.csv", "glove": "glove.txt"}, "model": {"encoder": "EfficientNetB3", "weights": "b3.h5"}}`, jsonHeader), nil, 0),
		post("form", "/runs", "a=b", map[string]string{"Content-Type": "application/x-www-form-urlencoded"}),
		post("too large", "/runs", `{"data": {"images": "`+strings.Repeat("x", 65<<10)+`"}}`, jsonHeader),
		post("bad key", "/runs", "{}", key("schlüssel")),
		with(post("service away", "/runs", "{}", jsonHeader), away),
		{name: "list", path: "/runs"},
		{name: "list one", path: "/runs?limit=1"},
		{name: "list none", path: "/runs?limit=0"},
		with(scenario{name: "list with the service away", path: "/runs"}, away),
		with(scenario{name: "list nothing", path: "/runs"}, func(f *fake) { f.runs = nil }),
		{name: "show", path: "/runs/train-01"},
		{name: "show with a slash", path: "/runs/by%2Fhand"},
		{name: "show unknown", path: "/runs/nothing"},
		{name: "configuration", path: "/runs/train-01/config", options: func(o *api.Options) { o.DataRoot = "/data" }},
		{name: "configuration without a data root", path: "/runs/train-01/config"},
		{name: "configuration of an unknown run", path: "/runs/nothing/config"},
		with(scenario{name: "configuration with the database away", path: "/runs/train-01/config"}, away),
		{name: "bundle configuration", path: "/runs/x/config", options: bundleOnly},
		post("cancel", "/runs/train-01/cancel", "", nil),
		post("cancel an ended one", "/runs/by%2Fhand/cancel", "", nil),
		post("cancel unknown", "/runs/nothing/cancel", "", nil),
		post("cancel from a foreign page", "/runs/train-01/cancel", "", map[string]string{"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}),
		{name: "cancel by GET", path: "/runs/train-01/cancel"},
		{name: "bundle start", method: http.MethodPost, path: "/runs", body: "{}", header: jsonHeader, options: bundleOnly},
		{name: "bundle list", path: "/runs", options: bundleOnly},
		{name: "bundle show", path: "/runs/x", options: bundleOnly},
		{name: "bundle cancel", method: http.MethodPost, path: "/runs/x/cancel", options: bundleOnly},
	})
}

// TestSlowBody: a body that does not arrive in time, as net/http reports it.
func TestSlowBody(t *testing.T) {
	r := scenario{method: http.MethodPost, path: "/runs", header: map[string]string{"Content-Type": "application/json"}}.request()
	r.Body = io.NopCloser(iotest.ErrReader(os.ErrDeadlineExceeded))
	w := httptest.NewRecorder()
	newServer(t, newFake(), nil).Handler().ServeHTTP(w, r)
	checkCommon(t, w)
	holdAgainstDocument(t, r, w)
	compareGolden(t, w)
}

func TestPathsAreConfined(t *testing.T) {
	base := t.TempDir()
	root, outside := filepath.Join(base, "root"), filepath.Join(base, "outside")
	for _, dir := range []string{filepath.Join(root, "pictures"), outside} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for link, target := range map[string]string{"escape": "../outside", "absolute": outside, "inner": "pictures"} {
		if err := os.Symlink(target, filepath.Join(root, link)); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		name, root, path string
		want             string // the path that is started with; empty: refused
	}{
		{"relative", root, "pictures", root + "/pictures"},
		{"absolute", root, root + "/pictures", root + "/pictures"},
		{"the root", root, root, root},
		{"untidy", root, root + "/x/..//pictures/", root + "/pictures"},
		{"missing", root, "later/pictures", root + "/later/pictures"},
		{"link inside", root, "inner", root + "/inner"},
		{"above", root, "../outside", ""},
		{"above, absolute", root, outside, ""},
		{"above, untidy", root, root + "/../outside", ""},
		{"sibling with the same beginning", root, root + "side", ""},
		{"link outside", root, "escape", ""},
		{"below a link outside", root, "escape/pictures", ""},
		{"absolute link outside", root, "absolute", ""},
		{"zero byte", root, "a\x00b", ""},
		{"root only on the workers", base + "/elsewhere", "pictures", base + "/elsewhere/pictures"},
		{"above, root only on the workers", base + "/elsewhere", "../root", ""},
		{"anywhere", "/", outside, outside},
		{"relative to anywhere", "/", "pictures", ""},
		{"home", "/", "~/pictures", ""},
		{"anywhere through a link", "/", root + "/absolute", root + "/absolute"},
		{"no root", "", "pictures", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFake()
			body := `{"data": {"captions": "` + filepath.Join(tt.root, "captions.txt") + `", "images": "` + strings.ReplaceAll(tt.path, "\x00", `\u0000`) + `"}}`
			w := serve(newServer(t, f, func(o *api.Options) { o.DataRoot = tt.root }),
				scenario{method: http.MethodPost, path: "/runs", body: body, header: map[string]string{"Content-Type": "application/json"}})
			if tt.want == "" {
				if w.Code != http.StatusUnprocessableEntity || len(f.started) != 0 || !strings.Contains(w.Body.String(), `"field":"data.images"`) {
					t.Errorf("path %q: status %d, %s; want 422 about data.images", tt.path, w.Code, w.Body)
				}
				return
			}
			if w.Code != http.StatusAccepted || len(f.started) != 1 {
				t.Fatalf("path %q: status %d, %s; want 202", tt.path, w.Code, w.Body)
			}
			if got := f.started[0].Data.Images; got != tt.want {
				t.Errorf("path %q: started with %q, want %q", tt.path, got, tt.want)
			}
		})
	}
}
