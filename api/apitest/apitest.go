// Package apitest holds what a server answers against what it says about itself
// in /openapi.json: for tests of the handlers and of the whole system alike.
package apitest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
)

// Document is a server's description of itself.
type Document struct {
	*openapi3.T
}

// Load reads a document, checks that it is valid OpenAPI, examples included,
// and closes every object that it describes: an answer with a field that is not
// described will not pass.
func Load(data []byte) (*Document, error) {
	doc, err := openapi3.NewLoader().LoadFromData(data)
	if err != nil {
		return nil, fmt.Errorf("read the document: %w", err)
	}
	if err := doc.Validate(context.Background()); err != nil {
		return nil, fmt.Errorf("validate the document: %w", err)
	}
	closed := false
	for _, s := range doc.Components.Schemas {
		if s.Value.Type.Is("object") && s.Value.AdditionalProperties.Schema == nil {
			s.Value.AdditionalProperties.Has = &closed
		}
	}
	for _, contentType := range []string{"text/html", "text/event-stream", "image/png"} {
		openapi3filter.RegisterBodyDecoder(contentType, openapi3filter.RegisteredBodyDecoder("text/plain"))
	}
	return &Document{doc}, nil
}

// Operation is what a document says about a request.
type Operation struct {
	*openapi3.Operation
	Path   string
	params map[string]string
}

// Operation finds what the document says about a request; nil for an address
// or a method that it does not name. HEAD is taken for GET.
func (d *Document) Operation(r *http.Request) *Operation {
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	asked := strings.Split(r.URL.EscapedPath(), "/")
	var templated *Operation
	for path, item := range d.Paths.Map() {
		op := item.GetOperation(method)
		params, matches := match(strings.Split(path, "/"), asked)
		if op == nil || !matches {
			continue
		}
		found := &Operation{Operation: op, Path: path, params: params}
		if len(params) == 0 {
			return found // /models/rollback comes before /models/{version}
		}
		templated = found
	}
	return templated
}

// match compares an address with a pattern, part by part, and returns the parts
// that the pattern names.
func match(pattern, asked []string) (params map[string]string, matches bool) {
	if len(pattern) != len(asked) {
		return nil, false
	}
	params = map[string]string{}
	for i, part := range pattern {
		name, isParam := strings.CutPrefix(part, "{")
		if !isParam && part != asked[i] {
			return nil, false
		}
		if isParam {
			params[strings.TrimSuffix(name, "}")], _ = url.PathUnescape(asked[i])
		}
	}
	return params, true
}

// CheckRequest checks a request against the document. Its body is read.
func (d *Document) CheckRequest(t testing.TB, r *http.Request, op *Operation) {
	t.Helper()
	if err := openapi3filter.ValidateRequest(t.Context(), d.input(r, op)); err != nil {
		t.Errorf("%s %s is not as described: %v", r.Method, r.URL, err)
	}
}

// CheckResponse checks an answer's status, headers, content type and body, and
// that its error code is one that the document names beside that status. The
// body can be read again.
func (d *Document) CheckResponse(t testing.TB, r *http.Request, resp *http.Response) {
	t.Helper()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	op := d.Operation(r)
	if op == nil {
		if resp.StatusCode < 400 && r.Method != http.MethodOptions {
			t.Errorf("%s %s is answered and not described", r.Method, r.URL.Path)
		}
		return
	}
	if r.Method == http.MethodHead {
		return // there is no body to check
	}
	err = openapi3filter.ValidateResponse(t.Context(), (&openapi3filter.ResponseValidationInput{
		RequestValidationInput: d.input(r, op), Status: resp.StatusCode, Header: resp.Header,
		Options: &openapi3filter.Options{IncludeResponseStatus: true, MultiError: true},
	}).SetBodyBytes(body))
	if err != nil {
		t.Errorf("%s %s: status %d is not as described: %v\n%.2000s", r.Method, r.URL.Path, resp.StatusCode, err, body)
	}
	if resp.StatusCode >= 400 {
		op.checkCode(t, resp.StatusCode, body)
	}
}

// CheckEvent checks the data of a server-sent event against the schema that the
// document names for it beside the stream of an address.
func (d *Document) CheckEvent(t testing.TB, path, name, data string) {
	t.Helper()
	schemas, _ := d.Paths.Value(path).Get.Responses.Status(http.StatusOK).Value.Extensions["x-events"].(map[string]any)
	reference, ok := schemas[name].(map[string]any)
	if !ok {
		t.Errorf("%s: the event %q is not described", path, name)
		return
	}
	var value any
	if err := json.Unmarshal([]byte(data), &value); err != nil {
		t.Errorf("event %s: %v", name, err)
		return
	}
	schema := d.Components.Schemas[strings.TrimPrefix(reference["$ref"].(string), "#/components/schemas/")]
	if err := schema.Value.VisitJSON(value, openapi3.EnableJSONSchema2020()); err != nil {
		t.Errorf("event %s is not as described: %v\n%.500s", name, err, data)
	}
}

// IsStream tells an operation that answers for as long as something goes on.
func IsStream(op *openapi3.Operation) bool {
	ok := op.Responses.Status(http.StatusOK)
	return ok != nil && ok.Value.Content.Get("text/event-stream") != nil
}

func (d *Document) input(r *http.Request, op *Operation) *openapi3filter.RequestValidationInput {
	return &openapi3filter.RequestValidationInput{Request: r, PathParams: op.params, Route: &routers.Route{
		Spec: d.T, Path: op.Path, PathItem: d.Paths.Value(op.Path), Method: r.Method, Operation: op.Operation,
	}}
}

func (op *Operation) checkCode(t testing.TB, status int, body []byte) {
	t.Helper()
	var p struct{ Code string }
	if err := json.Unmarshal(body, &p); err != nil {
		t.Errorf("status %d: %v", status, err)
		return
	}
	response := op.Responses.Status(status)
	if response == nil {
		response = op.Responses.Default()
	}
	if !slices.Contains(Codes(t, response.Value), p.Code) {
		t.Errorf("%s: the document does not name code %q for status %d", op.Path, p.Code, status)
	}
}

// Codes are the error codes that a response of the document can have.
func Codes(t testing.TB, r *openapi3.Response) []string {
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
