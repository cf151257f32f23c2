package api

import (
	_ "embed"
	"fmt"
	"net/http"
	"sync"

	"github.com/gin-gonic/gin"
	"github.com/goccy/go-yaml"
)

// description is the API in OpenAPI 3.1, kept by hand and held against the code
// by the tests.
//
//go:embed openapi.yaml
var description []byte

// docsPage shows the description and tries requests. It asks nobody but this
// server, and needs nothing but itself.
//
//go:embed docs.html
var docsPage []byte

// docsPolicy lets the page use what is in it and this server, and nothing else.
const docsPolicy = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; " +
	"img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// openAPIDocument returns the description as JSON, in the order of the file. It
// is made once: that takes milliseconds.
var openAPIDocument = sync.OnceValues(func() ([]byte, error) {
	document, err := yaml.YAMLToJSON(description)
	if err != nil {
		return nil, fmt.Errorf("api: read openapi.yaml: %w", err)
	}
	return document, nil
})

// openAPI answers GET /openapi.json.
func (s *Server) openAPI(c *gin.Context) error {
	c.Header("Cache-Control", "no-cache")
	c.Data(http.StatusOK, "application/json; charset=utf-8", s.document)
	return nil
}

// docs answers GET /docs.
func (s *Server) docs(c *gin.Context) error {
	c.Header("Cache-Control", "no-cache")
	c.Header("Content-Security-Policy", docsPolicy)
	c.Data(http.StatusOK, "text/html; charset=utf-8", docsPage)
	return nil
}
