package api_test

import (
	"net/http"
	"testing"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/api"
)

func TestModels(t *testing.T) {
	run(t, []scenario{
		{name: "list", path: "/models"},
		{name: "list one", path: "/models?limit=1"},
		{name: "list with a bad limit", path: "/models?limit=many"},
		{name: "list before the first", path: "/models", prepare: func(f *fake) { f.models, f.noAlias = nil, true }},
		{name: "list with the database away", path: "/models", prepare: func(f *fake) {
			f.err = captioner.Errorf(captioner.Unavailable, "the database cannot be reached")
		}},
		{name: "show", path: "/models/" + string(version)},
		{name: "show by its beginning", path: "/models/0123"},
		{name: "show an imported one", path: "/models/" + string(version), prepare: func(f *fake) {
			v := &f.models[0]
			v.RunID, v.Lineage.Dataset, v.Evaluation = "", "", captioner.Evaluation{Scores: []captioner.Scores{}, Samples: []captioner.SampleCaption{}}
			v.Lineage.Imported = &captioner.Imported{Model: version, Vocabulary: version, EncoderWeights: version}
		}},
		{name: "show unknown", path: "/models/ffff"},
		{name: "show too short a beginning", path: "/models/0123", prepare: func(f *fake) {
			f.err = captioner.Errorf(captioner.Invalid, "a model version is named by at least 4 characters")
		}},
		{name: "show one of several", path: "/models/0123", prepare: func(f *fake) {
			f.err = &captioner.Error{Kind: captioner.Invalid, Code: "ambiguous_version", Message: "several model versions begin like this: give more characters"}
		}},
		{name: "pin", method: http.MethodPost, path: "/models/0123/pin", check: pinned(true)},
		{name: "pin unknown", method: http.MethodPost, path: "/models/ffff/pin"},
		{name: "pin a deleted one", method: http.MethodPost, path: "/models/0123/pin", prepare: func(f *fake) { f.models[0].DeletedAt = &f.models[0].CreatedAt }},
		{name: "unpin", method: http.MethodPost, path: "/models/0123/unpin", prepare: func(f *fake) { f.models[0].PinnedAt = &f.models[0].CreatedAt }, check: pinned(false)},
		{name: "bundle pin", method: http.MethodPost, path: "/models/0123/pin", options: bundleOnly},
		{name: "bundle list", path: "/models", options: bundleOnly},
		{name: "bundle show", path: "/models/0123", options: bundleOnly},
	})
}

// pinned checks what has become of the newest version.
func pinned(want bool) func(*testing.T, *fake) {
	return func(t *testing.T, f *fake) {
		if got := f.models[0].PinnedAt != nil; got != want {
			t.Errorf("the version is pinned: %v, want %v", got, want)
		}
	}
}

func TestProbes(t *testing.T) {
	state := func(state string, loaded bool) func(*fake) {
		return func(f *fake) {
			f.state = state
			if !loaded {
				f.info = captioner.ModelInfo{}
			}
		}
	}
	run(t, []scenario{
		{name: "index", path: "/"},
		{name: "health", path: "/health"},
		{name: "health without a model", path: "/health", prepare: state("none", false)},
		{name: "health by HEAD", method: http.MethodHead, path: "/health"},
		{name: "ready", path: "/ready"},
		{name: "ready without a model", path: "/ready", prepare: state("none", false)},
		{name: "not ready while loading", path: "/ready", prepare: state("loading", false)},
		{name: "not ready while restarting", path: "/ready", prepare: state("loading", true)},
		{name: "model info", path: "/model/info"},
		{name: "model info without a model", path: "/model/info", prepare: state("none", false)},
		{name: "model info while loading", path: "/model/info", prepare: state("loading", false)},
		{name: "metrics", path: "/metrics"},
	})
}

func TestEveryReply(t *testing.T) {
	cors := func(origins ...string) func(*api.Options) {
		return func(o *api.Options) { o.CORSOrigins = origins }
	}
	preflight := map[string]string{"Origin": "https://app.example", "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
	page := map[string]string{"Origin": "https://app.example", "Sec-Fetch-Site": "cross-site", "Content-Type": "application/json"}
	run(t, []scenario{
		{name: "unknown address", path: "/nothing/here"},
		{name: "trailing slash", path: "/models/"},
		{name: "unknown method", method: http.MethodDelete, path: "/models"},
		{name: "page without CORS reads", path: "/", header: page},
		{name: "page without CORS writes", method: http.MethodPost, path: "/runs", body: "{}", header: page},
		{name: "preflight without CORS", method: http.MethodOptions, path: "/runs", header: preflight},
		{name: "preflight", method: http.MethodOptions, path: "/runs", header: preflight, options: cors("https://app.example")},
		{name: "preflight of another origin", method: http.MethodOptions, path: "/runs", header: preflight, options: cors("https://other.example")},
		{name: "page with CORS writes", method: http.MethodPost, path: "/runs", body: "{}", header: page, options: cors("https://app.example")},
		{name: "page of another origin writes", method: http.MethodPost, path: "/runs", body: "{}", header: page, options: cors("https://other.example")},
		{name: "any page writes", method: http.MethodPost, path: "/runs", body: "{}", header: page, options: cors("*")},
	})
}
