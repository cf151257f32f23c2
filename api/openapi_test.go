package api_test

import (
	"context"
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
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/gin-gonic/gin"
	gocmp "github.com/google/go-cmp/cmp"

	"github.com/captioner/captioner/api"
)

// document is what the server says about itself, with every object closed: a
// reply with a field that is not described does not pass.
var document = sync.OnceValues(func() (*openapi3.T, error) {
	s, err := api.New(api.Options{Captioner: newFake()})
	if err != nil {
		return nil, err
	}
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/openapi.json", nil))
	doc, err := openapi3.NewLoader().LoadFromData(w.Body.Bytes())
	if err != nil {
		return nil, err
	}
	if err := doc.Validate(context.Background()); err != nil {
		return nil, err
	}
	closed := false
	for _, s := range doc.Components.Schemas {
		if s.Value.Type.Is("object") && s.Value.AdditionalProperties.Schema == nil {
			s.Value.AdditionalProperties.Has = &closed
		}
	}
	openapi3filter.RegisterBodyDecoder("text/html", openapi3filter.RegisteredBodyDecoder("text/plain"))
	return doc, nil
})

func needDocument(t testing.TB) *openapi3.T {
	t.Helper()
	doc, err := document()
	if err != nil {
		t.Fatalf("the document is not valid: %v", err)
	}
	return doc
}

// operation finds what the document says about a request; nil for an address
// or a method that it does not name.
func operation(doc *openapi3.T, r *http.Request) (path string, op *openapi3.Operation, params map[string]string) {
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet // HEAD answers what GET does
	}
	asked := strings.Split(r.URL.EscapedPath(), "/")
	for path, item := range doc.Paths.Map() {
		pattern := strings.Split(path, "/")
		if len(pattern) != len(asked) || item.GetOperation(method) == nil {
			continue
		}
		params := map[string]string{}
		matches := true
		for i, part := range pattern {
			if strings.HasPrefix(part, "{") {
				params[strings.Trim(part, "{}")], _ = url.PathUnescape(asked[i])
			} else if part != asked[i] {
				matches = false
			}
		}
		if matches {
			return path, item.GetOperation(method), params
		}
	}
	return "", nil, nil
}

// holdAgainstDocument checks a reply's status, headers, content type and body,
// and that its error code is one that the document names beside that status.
func holdAgainstDocument(t testing.TB, r *http.Request, w *httptest.ResponseRecorder) {
	t.Helper()
	doc := needDocument(t)
	path, op, params := operation(doc, r)
	if op == nil {
		if w.Code < 400 && r.Method != http.MethodOptions {
			t.Errorf("%s %s is answered and not described", r.Method, r.URL.Path)
		}
		return
	}
	input := requestInput(doc, r, path, op, params)
	body := w.Body.Bytes()
	if r.Method == http.MethodHead {
		return // there is no body to check
	}
	err := openapi3filter.ValidateResponse(t.Context(), (&openapi3filter.ResponseValidationInput{
		RequestValidationInput: input, Status: w.Code, Header: w.Header(),
		Options: &openapi3filter.Options{IncludeResponseStatus: true, MultiError: true},
	}).SetBodyBytes(body))
	if err != nil {
		t.Errorf("%s %s: status %d is not as described: %v\n%s", r.Method, r.URL.Path, w.Code, err, body)
	}
	if w.Code < 400 {
		return
	}
	var p struct{ Code string }
	if err := json.Unmarshal(body, &p); err != nil {
		t.Fatal(err)
	}
	response := op.Responses.Status(w.Code)
	if response == nil {
		response = op.Responses.Default()
	}
	if !slices.Contains(codes(t, response.Value), p.Code) {
		t.Errorf("%s %s: the document does not name code %q for status %d", r.Method, path, p.Code, w.Code)
	}
}

func requestInput(doc *openapi3.T, r *http.Request, path string, op *openapi3.Operation, params map[string]string) *openapi3filter.RequestValidationInput {
	return &openapi3filter.RequestValidationInput{Request: r, PathParams: params, Route: &routers.Route{
		Spec: doc, Path: path, PathItem: doc.Paths.Value(path), Method: r.Method, Operation: op,
	}}
}

// codes are the error codes that a response of the document can have.
func codes(t testing.TB, r *openapi3.Response) []string {
	t.Helper()
	list, ok := r.Extensions["x-codes"].([]any)
	if !ok {
		t.Fatalf("response %q has no x-codes", *r.Description)
	}
	var names []string
	for _, name := range list {
		names = append(names, name.(string))
	}
	return names
}

// TestEveryRouteIsDescribed compares the server's routes with the document's.
func TestEveryRouteIsDescribed(t *testing.T) {
	var routes, described []string
	heads := map[string]bool{}
	parameter := regexp.MustCompile(`:(\w+)`)
	for _, r := range newServer(t, newFake(), nil).Handler().(*gin.Engine).Routes() {
		path := parameter.ReplaceAllString(r.Path, "{$1}")
		if r.Method == http.MethodHead {
			heads[path] = true
			continue
		}
		routes = append(routes, r.Method+" "+path)
	}
	for path, item := range needDocument(t).Paths.Map() {
		for method := range item.Operations() {
			described = append(described, method+" "+path)
			if method == http.MethodGet && !heads[path] {
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
			for contentType, body := range exampleBodies(t, op) {
				t.Run(method+" "+path+" "+contentType, func(t *testing.T) {
					r := exampleRequest(item, op, method, path, contentType, body)
					_, found, params := operation(doc, r)
					if found != op {
						t.Fatalf("%s %s is taken for another operation", method, r.URL)
					}
					if err := openapi3filter.ValidateRequest(t.Context(), requestInput(doc, r, path, op, params)); err != nil {
						t.Errorf("the example does not match its own description: %v", err)
					}
					r = exampleRequest(item, op, method, path, contentType, body) // the body was read
					w := httptest.NewRecorder()
					newServer(t, newFake(), func(o *api.Options) { o.DataRoot = "/" }).Handler().ServeHTTP(w, r)
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
