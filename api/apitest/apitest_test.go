package apitest_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/captioner/captioner/api/apitest"
)

// recorder is a test that only notes whether it failed.
type recorder struct {
	testing.TB
	failure string
}

func (r *recorder) Helper() {}

func (r *recorder) Errorf(format string, args ...any) { r.failure = fmt.Sprintf(format, args...) }

// TestCheckResponse: what is not as described is found.
func TestCheckResponse(t *testing.T) {
	data, err := os.ReadFile("../openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := apitest.Load(data)
	if err != nil {
		t.Fatal(err)
	}
	const ready = `{"ready": true, "model": "none"}`
	problem := func(status int, code string) string {
		return fmt.Sprintf(`{"type": "about:blank", "title": "x", "status": %d, "code": %q, "detail": "x", "request_id": "x"}`, status, code)
	}
	for _, test := range []struct {
		name   string
		path   string
		status int
		body   string
		change func(http.Header)
		want   string // part of the failure, empty for none
	}{
		{name: "as described", path: "/ready", status: 200, body: ready},
		{name: "another field", path: "/ready", status: 200, body: `{"ready": true, "model": "none", "mood": "good"}`, want: "mood"},
		{name: "a missing field", path: "/ready", status: 200, body: `{"ready": true}`, want: "model"},
		{name: "another type", path: "/ready", status: 200, body: `{"ready": "yes", "model": "none"}`, want: "ready"},
		{name: "a value that is none of the list", path: "/ready", status: 200, body: `{"ready": true, "model": "tired"}`, want: "model"},
		{name: "a missing header", path: "/ready", status: 200, body: ready, change: func(h http.Header) { h.Del("X-Request-ID") }, want: "X-Request-ID"},
		{name: "a malformed header", path: "/ready", status: 200, body: ready, change: func(h http.Header) { h.Set("X-Response-Time", "soon") }, want: "X-Response-Time"},
		{name: "another content type", path: "/ready", status: 200, body: ready, change: func(h http.Header) { h.Set("Content-Type", "text/plain") }, want: "Content-Type"},
		{name: "an error as described", path: "/models/rollback", status: 409, body: problem(409, "alias_moved")},
		{name: "an error of any request", path: "/models/rollback", status: 500, body: problem(500, "internal")},
		{name: "a code of another status", path: "/models/rollback", status: 409, body: problem(409, "not_found"), want: "not_found"},
		{name: "an unknown code", path: "/models/rollback", status: 409, body: problem(409, "bad_luck"), want: "bad_luck"},
		{name: "an error with another status", path: "/models/rollback", status: 418, body: problem(418, "alias_moved"), want: "alias_moved"},
		{name: "an unknown address", path: "/teapot", status: 200, body: ready, want: "not described"},
		{name: "an unknown address, refused", path: "/teapot", status: 404, body: problem(404, "not_found")},
	} {
		t.Run(test.name, func(t *testing.T) {
			header := http.Header{"X-Request-Id": {strings.Repeat("0", 32)}, "X-Response-Time": {"0.000001s"}, "Content-Type": {"application/json; charset=utf-8"}}
			method := http.MethodGet
			if strings.HasPrefix(test.path, "/models") {
				method = http.MethodPost
			}
			if test.status >= 400 {
				header.Set("Content-Type", "application/problem+json")
			}
			if test.change != nil {
				test.change(header)
			}
			r := &recorder{TB: t}
			doc.CheckResponse(r, httptest.NewRequest(method, test.path, nil), &http.Response{
				StatusCode: test.status, Header: header, Body: io.NopCloser(strings.NewReader(test.body)),
			})
			if (r.failure == "") != (test.want == "") || !strings.Contains(r.failure, test.want) {
				t.Errorf("found %q, want something about %q", r.failure, test.want)
			}
		})
	}
}

func TestLoadRefusesWhatIsNoDescription(t *testing.T) {
	for name, data := range map[string]string{
		"no document":       "{",
		"without paths":     `{"openapi": "3.1.0", "info": {"title": "x"}}`,
		"a dangling name":   `{"openapi": "3.1.0", "info": {"title": "x", "version": "1"}, "paths": {"/": {"$ref": "#/components/pathItems/x"}}}`,
		"a wrong example":   strings.ReplaceAll(example, "EXAMPLE", `"many"`),
		"an unknown format": strings.ReplaceAll(example, `"integer"`, `"whole"`),
	} {
		if _, err := apitest.Load([]byte(data)); err == nil {
			t.Errorf("%s: it was loaded", name)
		}
	}
	if _, err := apitest.Load([]byte(strings.ReplaceAll(example, "EXAMPLE", "7"))); err != nil {
		t.Errorf("a right example: %v", err)
	}
}

const example = `{"openapi": "3.1.0", "info": {"title": "x", "version": "1"}, "components": {"schemas": {}}, "paths": {"/": {"get": {"responses": {"200": {
	"description": "x", "content": {"application/json": {"schema": {"type": "integer"}, "example": EXAMPLE}}}}}}}}`
