package api_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/captioner/captioner"
)

func TestDeployments(t *testing.T) {
	const promote, rollback = "/models/" + string(version) + "/promote", "/models/rollback"
	jsonHeader := map[string]string{"Content-Type": "application/json"}
	post := func(name, path, body string, want ...string) scenario {
		sc := scenario{name: name, method: http.MethodPost, path: path, body: body, header: jsonHeader}
		sc.check = func(t *testing.T, f *fake) {
			if diff := gocmp.Diff(want, f.deployed); diff != "" {
				t.Errorf("deployments (-want +got):\n%s", diff)
			}
		}
		return sc
	}
	fails := func(sc scenario, err error) scenario {
		sc.prepare = func(f *fake) { f.err = err }
		return sc
	}
	keyed := func(sc scenario, key string) scenario {
		sc.header = map[string]string{"Content-Type": "application/json", "Idempotency-Key": key}
		before := sc.check
		sc.check = func(t *testing.T, f *fake) {
			before(t, f)
			if len(f.deployed) > 0 && !slices.Equal(f.keys, []string{key}) {
				t.Errorf("keys %q, want %q", f.keys, key)
			}
		}
		return sc
	}
	damaged := &captioner.Error{Kind: captioner.Conflict, Code: "bundle_damaged", Message: "version 0123456789ab cannot go live: its bundle is missing or damaged",
		Problems: []captioner.Problem{{Field: "vocabulary.json", Message: "has changed"}}}
	failed := &captioner.Error{Kind: captioner.Unavailable, Code: "deployment_failed", Message: "server one cannot serve the version"}
	moved := &captioner.Error{Kind: captioner.Conflict, Code: "alias_moved", Message: "the alias has moved in the meantime"}
	full := &captioner.Error{Kind: captioner.Unavailable, Code: "out_of_space", Message: "move an alias"}
	nothing := &captioner.Error{Kind: captioner.Conflict, Code: "nothing_to_roll_back_to", Message: "no version was live before version 0123456789ab"}
	get := func(name, path string) scenario { return scenario{name: name, path: path} }

	run(t, []scenario{
		post("promote", promote, `{"reason": "it counts better"}`, "api: it counts better"),
		post("promote by its beginning", "/models/0123/promote", "{}", "api: promoted by hand"),
		{name: "promote without a body", method: http.MethodPost, path: promote},
		post("promote unknown", "/models/ffff/promote", "", "api: promoted by hand"),
		fails(post("promote a damaged one", promote, "", "api: promoted by hand"), damaged),
		fails(post("servers cannot follow", promote, "", "api: promoted by hand"), failed),
		fails(post("another deployment came first", promote, "", "api: promoted by hand"), moved),
		fails(post("disk full", promote, "", "api: promoted by hand"), full),
		post("not JSON", promote, "because"),
		post("not an object", promote, `["because"]`),
		post("not a text", promote, `{"reason": 7}`),
		post("another field", promote, `{"because": "x"}`),
		post("long reason", promote, `{"reason": "`+strings.Repeat("ä", 1001)+`"}`),
		post("body too large", promote, `{"reason": "`+strings.Repeat("x", 17<<10)+`"}`),
		{name: "form", method: http.MethodPost, path: promote, body: "reason=x", header: map[string]string{"Content-Type": "application/x-www-form-urlencoded"}},
		{name: "promote by GET", path: promote},
		post("roll back", rollback, `{"reason": " it says nothing but dogs "}`, "api: it says nothing but dogs"),
		post("roll back without a reason", rollback, `{"reason": null}`, "api: rolled back by hand"),
		keyed(post("promote with a key", promote, "", "api: promoted by hand"), "abc"),
		keyed(post("roll back with a key", rollback, "", "api: rolled back by hand"), "abc"),
		keyed(post("bad key", promote, ""), "schlüssel"),
		keyed(post("bad key of a rollback", rollback, ""), "schlüssel"),
		fails(keyed(post("key of another request", promote, "", "api: promoted by hand"), "abc"), captioner.KeyReused()),
		fails(post("nothing to roll back to", rollback, "", "api: rolled back by hand"), nothing),
		{name: "roll back from a foreign page", method: http.MethodPost, path: rollback, header: map[string]string{"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}},
		get("log", "/deployments"),
		get("newest of the log", "/deployments?limit=1"),
		get("bad limit", "/deployments?limit=-1"),
		get("what is live", "/deployments?at=2030-01-01T00:00:00Z"),
		get("what was live", "/deployments?at=2026-05-01T14:03:59%2B02:00"),
		get("before the first", "/deployments?at=2026-05-01T11:59:59.999Z"),
		get("not a time", "/deployments?at=yesterday"),
		get("plus in an address", "/deployments?at=2026-05-01T14:03:59+02:00"),
		fails(get("database away", "/deployments"), captioner.Errorf(captioner.Unavailable, "the database cannot be reached")),
		{name: "bundle log", path: "/deployments", options: bundleOnly},
		{name: "bundle promote", method: http.MethodPost, path: promote, options: bundleOnly},
		{name: "bundle roll back", method: http.MethodPost, path: rollback, options: bundleOnly},
	})
}

// TestDeploymentOutlivesItsClient: who has hung up cannot leave an alias that
// nobody looks after.
func TestDeploymentOutlivesItsClient(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	f := newFake()
	r := scenario{method: http.MethodPost, path: "/models/0123/promote"}.request().WithContext(ctx)
	w := httptest.NewRecorder()
	newServer(t, f, nil).Handler().ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		t.Errorf("status %d, %s; want the promotion to go on without its client", w.Code, w.Body)
	}
}
