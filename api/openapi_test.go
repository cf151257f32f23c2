package api_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/gin-gonic/gin"
	gocmp "github.com/google/go-cmp/cmp"

	"github.com/captioner/captioner/api"
	"github.com/captioner/captioner/api/apitest"
)

// document is what the server says about itself.
var document = sync.OnceValues(func() (*apitest.Document, error) {
	s, err := api.New(api.Options{Captioner: newFake()})
	if err != nil {
		return nil, err
	}
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/openapi.json", nil))
	return apitest.Load(w.Body.Bytes())
})

func needDocument(t testing.TB) *apitest.Document {
	t.Helper()
	doc, err := document()
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// holdAgainstDocument checks a recorded reply, which can be read again.
func holdAgainstDocument(t testing.TB, r *http.Request, w *httptest.ResponseRecorder) {
	t.Helper()
	body := w.Body.Bytes()
	resp := w.Result()
	defer resp.Body.Close()
	needDocument(t).CheckResponse(t, r, resp)
	w.Body = bytes.NewBuffer(body)
}

// TestEveryRouteIsDescribed compares the server's routes with the document's.
func TestEveryRouteIsDescribed(t *testing.T) {
	var routes, described []string
	heads := map[string]bool{}
	parameter := regexp.MustCompile(`:(\w+)`)
	for _, r := range newServer(t, newFake(), nil).Handler().(*gin.Engine).Routes() {
		path := parameter.ReplaceAllString(r.Path, "{$1}")
		if strings.HasPrefix(path, "/ui/") {
			continue // the page, which is for people
		}
		if r.Method == http.MethodHead {
			heads[path] = true
			continue
		}
		routes = append(routes, r.Method+" "+path)
	}
	for path, item := range needDocument(t).Paths.Map() {
		for method := range item.Operations() {
			described = append(described, method+" "+path)
			if method == http.MethodGet && !heads[path] && !apitest.IsStream(item.Get) {
				t.Errorf("GET %s has no HEAD beside it", path)
			}
		}
	}
	slices.Sort(routes)
	slices.Sort(described)
	if diff := gocmp.Diff(routes, described); diff != "" {
		t.Errorf("routes (-server +document):\n%s", diff)
	}
}

// TestExamplesWork sends what the document gives as examples: each operation
// must take its own and answer with success.
func TestExamplesWork(t *testing.T) {
	doc := needDocument(t)
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			if apitest.IsStream(op) {
				continue // its run goes on; see TestEventsOfEndedRun
			}
			for contentType, body := range exampleBodies(t, op) {
				t.Run(method+" "+path+" "+contentType, func(t *testing.T) {
					r := exampleRequest(item, op, method, path, contentType, body)
					found := doc.Operation(r)
					if found == nil || found.Operation != op {
						t.Fatalf("%s %s is taken for another operation", method, r.URL)
					}
					doc.CheckRequest(t, r, found)
					r = exampleRequest(item, op, method, path, contentType, body) // the body was read
					w := httptest.NewRecorder()
					f := newFake()
					f.training(1)
					prepared(f)
					newServer(t, f, func(o *api.Options) { o.DataRoot = "/" }).Handler().ServeHTTP(w, r)
					if w.Code >= 400 {
						t.Errorf("%s %s: status %d: %s", method, r.URL, w.Code, w.Body)
					}
					holdAgainstDocument(t, r, w)
				})
			}
		}
	}
}

// exampleBodies are the bodies to try, by content type; one empty body for an
// operation that takes none.
func exampleBodies(t *testing.T, op *openapi3.Operation) map[string]string {
	t.Helper()
	if op.RequestBody == nil {
		return map[string]string{"": ""}
	}
	bodies := map[string]string{}
	for contentType, media := range op.RequestBody.Value.Content {
		if contentType == "multipart/form-data" {
			bodies[formHeader["Content-Type"]] = form(t, "file", picture(t), "algorithm", "beam", "num_captions", "2")
			continue
		}
		example := media.Example
		for _, e := range media.Examples {
			example = e.Value.Value
		}
		data, err := json.Marshal(example) // which is YAML too
		if err != nil || example == nil {
			t.Errorf("%s has no example of %s (%v)", op.OperationID, contentType, err)
		}
		bodies[contentType] = string(data)
	}
	return bodies
}

func exampleRequest(item *openapi3.PathItem, op *openapi3.Operation, method, path, contentType, body string) *http.Request {
	query := url.Values{}
	header := http.Header{}
	for _, p := range append(slices.Clone(item.Parameters), op.Parameters...) {
		if p.Value.Example == nil {
			continue
		}
		value := fmt.Sprint(p.Value.Example)
		switch p.Value.In {
		case "path":
			path = strings.ReplaceAll(path, "{"+p.Value.Name+"}", url.PathEscape(value))
		case "query":
			query.Set(p.Value.Name, value)
		case "header":
			header.Set(p.Value.Name, value)
		}
	}
	r := httptest.NewRequest(method, path+"?"+query.Encode(), strings.NewReader(body))
	r.Header = header
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	return r
}

// TestDocsPage: the page is whole in itself.
func TestDocsPage(t *testing.T) {
	w := serve(newServer(t, newFake(), nil), scenario{path: "/docs"})
	checkCommon(t, w)
	body, err := io.ReadAll(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	if outside := regexp.MustCompile(`(src|href|url)\s*[=(]\s*["']?(https?:)?//[^"')]*`).Find(body); outside != nil {
		t.Errorf("the page asks for %s", outside)
	}
	if policy := w.Header().Get("Content-Security-Policy"); !strings.Contains(policy, "default-src 'none'") || !strings.Contains(policy, "connect-src 'self'") {
		t.Errorf("Content-Security-Policy = %q, want only this server", policy)
	}
}
