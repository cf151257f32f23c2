package mlflow

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/captioner/captioner"
)

// ServerError is MLflow's answer to a request that it does not fulfil.
type ServerError struct {
	Status int // HTTP's
	// Code is MLflow's, such as RESOURCE_DOES_NOT_EXIST.
	Code    string `json:"error_code"`
	Message string `json:"message"`
}

// Error gives the code and the message.
func (e *ServerError) Error() string { return fmt.Sprintf("%s: %s", e.Code, e.Message) }

// Refused reports whether the server has understood the request and will never
// fulfil it: another one may go well.
func Refused(err error) bool {
	var e *ServerError
	return errors.As(err, &e) && captioner.KindOf(err) != captioner.Unavailable
}

// refusal turns a reply other than 200 into an error.
func refusal(response *http.Response, body []byte) error {
	e := &ServerError{Status: response.StatusCode}
	understood := json.Unmarshal(body, e) == nil && e.Code != ""
	switch status := response.StatusCode; {
	case status == http.StatusUnauthorized:
		return captioner.Errorf(captioner.Invalid, "MLflow does not accept the credentials: "+
			"check MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN")
	case status == http.StatusForbidden:
		return captioner.Errorf(captioner.Invalid, "MLflow does not let this user do that: "+
			"give it the permission to edit the experiment and the registered model, or take another user")
	case status == http.StatusRequestTimeout, status == http.StatusTooManyRequests, status >= 500:
		if !understood {
			e.Code, e.Message = "HTTP", response.Status
		}
		return captioner.Wrap(captioner.Unavailable, e, "MLflow cannot answer now")
	case status >= 300 && status < 400:
		return notMLflow(fmt.Errorf("it answers %s", response.Status))
	case !understood:
		return notMLflow(fmt.Errorf("it answers %s without a reason of MLflow's", response.Status))
	}
	kind := captioner.Invalid
	switch e.Code {
	case "RESOURCE_DOES_NOT_EXIST":
		kind = captioner.NotFound
	case "RESOURCE_ALREADY_EXISTS":
		kind = captioner.Conflict
	case "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED":
		kind = captioner.Unavailable
	}
	return captioner.Wrap(kind, e, "MLflow refuses")
}

// notMLflow is the error of an address at which something else answers.
func notMLflow(err error) error {
	return captioner.Wrap(captioner.Invalid, err, "what answers at MLFLOW_TRACKING_URI is no MLflow tracking server")
}

// unreachable is the error of a request without a reply. The address is left
// out of it: whoever logs it names the server once.
func unreachable(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	if _, ok := errors.AsType[*captioner.Error](err); ok {
		return err // of the file that was to be uploaded
	}
	var certificate *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	switch {
	case errors.As(err, &certificate):
		return captioner.Wrap(captioner.Invalid, err, "MLflow's certificate is not trusted: "+
			"name that of its authority with MLFLOW_TRACKING_SERVER_CERT_PATH")
	case errors.As(err, &record), errors.Is(err, http.ErrSchemeMismatch):
		return captioner.Wrap(captioner.Invalid, err, "MLflow's address does not speak TLS: MLFLOW_TRACKING_URI must begin with http://")
	}
	return captioner.Wrap(captioner.Unavailable, err, "MLflow does not answer")
}
