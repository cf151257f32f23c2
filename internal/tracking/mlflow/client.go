// Package mlflow is a client of an MLflow tracking server over its REST API:
// experiments, runs with their parameters, metrics and tags, artifacts through
// the server's proxy, and the model registry.
//
// Each call is one attempt, save for what is split to keep within the server's
// limits. An error says by its kind what it means: Unavailable, try again later;
// NotFound and Conflict, as the server says; Invalid, the settings are wrong or
// the server will not take what it was given, which [Refused] tells apart. What
// is delivered when, and what after an error, is decided by package outbox.
package mlflow

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/captioner/captioner"
)

const (
	// callTimeout bounds a call, and uploadTimeout the upload of one file.
	callTimeout   = 30 * time.Second
	uploadTimeout = 10 * time.Minute
	// maxReply bounds what is read of a reply, in bytes.
	maxReply = 64 << 20
	apiPath  = "api/2.0/mlflow/"
)

// Options say where the server is and how it knows the client. They are
// MLflow's own settings.
type Options struct {
	// URI is the server's address, http:// or https://.
	URI string
	// Username and Password, or Token, stand in each request.
	Username, Password string
	Token              string
	// InsecureTLS accepts any certificate; ServerCert is a PEM file of the
	// authorities to trust instead of the machine's, ClientCert one of the
	// client's own certificate and key.
	InsecureTLS            bool
	ServerCert, ClientCert string
}

// FromEnvironment returns the options that MLflow's variables set.
func FromEnvironment(getenv func(string) string) Options {
	insecure := strings.ToLower(getenv("MLFLOW_TRACKING_INSECURE_TLS"))
	return Options{
		URI:         getenv("MLFLOW_TRACKING_URI"),
		Username:    getenv("MLFLOW_TRACKING_USERNAME"),
		Password:    getenv("MLFLOW_TRACKING_PASSWORD"),
		Token:       getenv("MLFLOW_TRACKING_TOKEN"),
		InsecureTLS: insecure == "true" || insecure == "1",
		ServerCert:  getenv("MLFLOW_TRACKING_SERVER_CERT_PATH"),
		ClientCert:  getenv("MLFLOW_TRACKING_CLIENT_CERT_PATH"),
	}
}

// Client speaks to one server. It may be used by several goroutines.
type Client struct {
	base               *url.URL // ends with a slash, has no credentials
	username, password string
	token              string
	http               *http.Client
}

// New checks the options, all problems at once, and reaches for nothing.
func New(o Options) (*Client, error) {
	var problems []captioner.Problem
	refuse := func(variable, message string) {
		problems = append(problems, captioner.Problem{Field: variable, Message: message})
	}
	c := &Client{username: o.Username, password: o.Password, token: o.Token}
	base, err := url.Parse(o.URI)
	switch {
	case err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https":
		refuse("MLFLOW_TRACKING_URI", "must be the address of a tracking server, http://HOST:PORT or https://HOST")
	case base.RawQuery != "" || base.Fragment != "":
		refuse("MLFLOW_TRACKING_URI", "must end with the host or a path")
	default:
		if base.User != nil {
			c.username = cmp.Or(c.username, base.User.Username())
			if password, ok := base.User.Password(); ok {
				c.password = cmp.Or(c.password, password)
			}
			base.User = nil
		}
		base.Path = strings.TrimRight(base.Path, "/") + "/"
		c.base = base
	}
	if (c.username == "") != (c.password == "") {
		refuse("MLFLOW_TRACKING_USERNAME", "and MLFLOW_TRACKING_PASSWORD need each other")
	}
	if c.username != "" && c.token != "" {
		refuse("MLFLOW_TRACKING_TOKEN", "cannot be used beside a user name and password: unset one of them")
	}
	config := &tls.Config{InsecureSkipVerify: o.InsecureTLS}
	if o.ServerCert != "" {
		if o.InsecureTLS {
			refuse("MLFLOW_TRACKING_INSECURE_TLS", "cannot be used beside MLFLOW_TRACKING_SERVER_CERT_PATH: unset one of them")
		}
		config.RootCAs = x509.NewCertPool()
		if data, err := os.ReadFile(o.ServerCert); err != nil || !config.RootCAs.AppendCertsFromPEM(data) {
			refuse("MLFLOW_TRACKING_SERVER_CERT_PATH", "must name a PEM file of certificates that can be read")
		}
	}
	if o.ClientCert != "" {
		certificate, err := tls.LoadX509KeyPair(o.ClientCert, o.ClientCert)
		if err != nil {
			refuse("MLFLOW_TRACKING_CLIENT_CERT_PATH", "must name a PEM file of a certificate and its key that can be read")
		}
		config.Certificates = []tls.Certificate{certificate}
	}
	if len(problems) > 0 {
		return nil, &captioner.Error{Kind: captioner.Invalid, Message: "the settings of MLflow cannot be used", Problems: problems}
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = config
	// A redirect leads to a page to log in at, or takes credentials elsewhere.
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	c.http = &http.Client{Transport: transport, CheckRedirect: stay}
	return c, nil
}

// Address is the server's, without credentials and without a slash at the end.
func (c *Client) Address() string { return strings.TrimSuffix(c.base.String(), "/") }

// get asks for out with a query, post with a JSON body; a nil out is not read.
func (c *Client) get(ctx context.Context, path string, query url.Values, out any) error {
	return c.call(ctx, http.MethodGet, path+"?"+query.Encode(), nil, out)
}

func (c *Client) post(ctx context.Context, path string, in, out any) error {
	return c.call(ctx, http.MethodPost, path, in, out)
}

func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return captioner.Wrap(captioner.Internal, err, "encode a request to MLflow")
		}
		body = bytes.NewReader(data)
	}
	request, err := http.NewRequestWithContext(ctx, method, c.base.String()+apiPath+path, body)
	if err != nil {
		return captioner.Wrap(captioner.Internal, err, "make a request to MLflow")
	}
	if in != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	data, err := c.do(request)
	if err != nil || out == nil {
		return err
	}
	if err := json.Unmarshal(data, out); err != nil {
		return notMLflow(err)
	}
	return nil
}

// do sends a request with the credentials and returns the body of its reply.
func (c *Client) do(request *http.Request) ([]byte, error) {
	switch {
	case c.username != "":
		request.SetBasicAuth(c.username, c.password)
	case c.token != "":
		request.Header.Set("Authorization", "Bearer "+c.token)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, unreachable(err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(io.LimitReader(response.Body, maxReply))
	if err != nil {
		return nil, unreachable(err)
	}
	if response.StatusCode != http.StatusOK {
		return nil, refusal(response, data)
	}
	return data, nil
}
