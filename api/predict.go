package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"mime/multipart"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/telemetry/span"
	"github.com/captioner/captioner/ml/decode"
	"github.com/captioner/captioner/ml/images"
)

const (
	// maxFieldBytes bounds a form field other than the file.
	maxFieldBytes = 1 << 10
	// maxParts bounds the parts of a form.
	maxParts = 32
	// maxTemperature bounds the temperature of sampling: long before it every
	// token is as likely as any other.
	maxTemperature = 100
	// noCaption stands for a caption without a word, as in the original.
	noCaption = "Unable to generate caption"
)

// predictReply is the reply to POST /predict.
type predictReply struct {
	// Caption is the best hypothesis; a sentence that says so when it is empty.
	Caption               string  `json:"caption"`
	Algorithm             string  `json:"algorithm"`
	ProcessingTimeSeconds float64 `json:"processing_time_seconds"`
	// ImageSize is width and height in pixels, the right way up.
	ImageSize    [2]int           `json:"image_size"`
	ModelVersion captioner.Digest `json:"model_version"`
	// Captions are the hypotheses, best first.
	Captions []captioner.Hypothesis `json:"captions"`
}

// predictForm is the form of POST /predict.
type predictForm struct {
	file        []byte
	hasFile     bool
	algorithm   string
	beamWidth   int
	numCaptions int
	sampling    captioner.Sampling
}

// predict answers POST /predict: a multipart form with a picture in "file" and,
// optionally, "algorithm" (beam, greedy, sample, ...), "beam_width" and
// "num_captions", and for sample "temperature", "top_k", "top_p" and "seed".
func (s *Server) predict(c *gin.Context) error {
	begun := time.Now()
	if err := s.predicts.enter(); err != nil {
		return err
	}
	defer s.predicts.leave()

	form, err := s.readPredictForm(c.Request)
	if err != nil {
		return err
	}
	info, err := images.Inspect(form.file, s.opts.MaxPixels)
	if err != nil {
		return err
	}
	result, version, err := s.caption(c.Request.Context(), form)
	if err != nil {
		return err
	}

	took := time.Since(begun)
	s.opts.Observer.Predicted(form.algorithm, took)
	reply := predictReply{
		Caption:               noCaption,
		Algorithm:             form.algorithm,
		ProcessingTimeSeconds: math.Round(took.Seconds()*1e6) / 1e6,
		ImageSize:             [2]int{result.Width, result.Height},
		ModelVersion:          version,
		Captions:              result.Hypotheses,
	}
	if result.Width == 0 {
		reply.ImageSize[0], reply.ImageSize[1] = info.Oriented()
	}
	for i := range reply.Captions {
		if reply.Captions[i].Tokens == nil {
			reply.Captions[i].Tokens = []int32{} // an array in JSON, never null
		}
	}
	if text := reply.Captions[0].Text; text != "" {
		reply.Caption = text
	}
	return write(c, http.StatusOK, reply)
}

// caption asks the captioner when there is a place for the request.
func (s *Server) caption(ctx context.Context, form predictForm) (
	result captioner.CaptionResult, version captioner.Digest, err error,
) {
	ctx, cancel := context.WithTimeout(ctx, s.opts.PredictTimeout)
	defer cancel()
	leave, err := s.admit(ctx)
	if err != nil {
		return result, "", err
	}
	defer leave()
	reply, err := s.opts.Captioner.Caption(ctx, captioner.CaptionRequest{
		Images:      []captioner.ImageInput{{Data: form.file}},
		Algorithm:   form.algorithm,
		BeamWidth:   form.beamWidth,
		NumCaptions: form.numCaptions,
		Sampling:    form.sampling,
	})
	if err != nil {
		return result, "", err
	}
	s.opts.Observer.Captioned(reply)
	if len(reply.Results) != 1 {
		return result, "", fmt.Errorf("captioner answered %d pictures instead of 1", len(reply.Results))
	}
	result = reply.Results[0]
	if result.Err == nil && len(result.Hypotheses) == 0 {
		return result, "", errors.New("captioner gave no hypothesis")
	}
	return result, reply.Version, result.Err
}

// tracedWait is how long a request must have waited for a place to have a span
// that says so: most do not wait at all.
const tracedWait = time.Millisecond

// admit waits for a place, which the caller leaves.
func (s *Server) admit(ctx context.Context) (leave func(), err error) {
	begun := time.Now()
	s.opts.Observer.Waiting(1)
	leave, err = s.predicts.take(ctx)
	s.opts.Observer.Waiting(-1)
	waited := time.Since(begun)
	s.opts.Observer.Waited(waited)
	if waited >= tracedWait {
		span.Past(ctx, "admission", begun, begun.Add(waited))
	}
	return leave, err
}

// readPredictForm reads and checks the form. The file stays in memory: the body
// is bounded.
func (s *Server) readPredictForm(r *http.Request) (predictForm, error) {
	form := predictForm{algorithm: "beam"}
	parts, err := r.MultipartReader()
	if err != nil && holdsNoFile(r) {
		return form, errMissingFile
	}
	if err != nil {
		return form, &captioner.Error{Kind: captioner.Invalid, Code: "unsupported_media_type",
			Message: "send a multipart/form-data form with the picture in the field file", Err: err}
	}
	for n := 0; ; n++ {
		part, err := parts.NextPart()
		if err == io.EOF {
			break
		}
		if err != nil {
			return form, bodyError(err)
		}
		if n == maxParts {
			return form, &captioner.Error{Kind: captioner.Invalid, Code: "malformed_body", Message: "the form has too many parts"}
		}
		if err := s.readPart(part, &form); err != nil {
			return form, err
		}
	}
	if !form.hasFile {
		return form, errMissingFile
	}
	return form, nil
}

var errMissingFile = invalid("missing_file", "file", "must be a picture in a multipart/form-data form")

// holdsNoFile tells a request that forgot the picture from one that sends it in
// some other way: it is empty, or a form without files.
func holdsNoFile(r *http.Request) bool {
	media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return r.ContentLength == 0 || media == "application/x-www-form-urlencoded"
}

// readPart reads one field into the form. Fields of other names are skipped.
func (s *Server) readPart(part *multipart.Part, form *predictForm) (err error) {
	switch part.FormName() {
	case "file":
		if form.hasFile {
			return invalid("duplicate_file", "file", "must occur once: send one picture at a time")
		}
		form.hasFile = true
		form.file, err = readAll(part, s.opts.MaxUploadBytes)
	case "algorithm":
		form.algorithm, err = readField(part)
		if known := decode.Algorithms(); err == nil && !slices.Contains(known, form.algorithm) {
			err = invalid("unknown_algorithm", "algorithm", `must be "`+strings.Join(known, `" or "`)+`"`)
		}
	case "beam_width":
		form.beamWidth, err = readCount(part, "invalid_beam_width", s.opts.MaxBeamWidth)
	case "num_captions":
		form.numCaptions, err = readCount(part, "invalid_num_captions", s.opts.MaxBeamWidth)
	case "temperature":
		form.sampling.Temperature, err = readPositive(part, maxTemperature)
	case "top_k":
		form.sampling.TopK, err = readCount(part, "invalid_sampling", decode.MaxTopK)
	case "top_p":
		form.sampling.TopP, err = readPositive(part, 1)
	case "seed":
		form.sampling.Seed, err = readSeed(part)
	}
	return err
}

// readField reads a short text.
func readField(part *multipart.Part) (string, error) {
	data, err := readAll(part, maxFieldBytes)
	if captioner.CodeOf(err) == codeBodyTooLarge {
		return "", invalid("malformed_body", part.FormName(), fmt.Sprintf("must be at most %d bytes long", maxFieldBytes))
	}
	return string(data), err
}

// readCount reads a number from 1 to limit.
func readCount(part *multipart.Part, code string, limit int) (int, error) {
	text, err := readField(part)
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > limit {
		return 0, invalid(code, part.FormName(), fmt.Sprintf("must be a whole number from 1 to %d", limit))
	}
	return n, nil
}

// readPositive reads a number above 0, up to limit.
func readPositive(part *multipart.Part, limit float64) (float64, error) {
	text, err := readField(part)
	if err != nil {
		return 0, err
	}
	x, err := strconv.ParseFloat(text, 64)
	if err != nil || !(x > 0 && x <= limit) {
		return 0, invalid("invalid_sampling", part.FormName(), fmt.Sprintf("must be a number above 0, up to %v", limit))
	}
	return x, nil
}

// readSeed reads a whole number of 63 bits.
func readSeed(part *multipart.Part) (uint64, error) {
	text, err := readField(part)
	if err != nil {
		return 0, err
	}
	seed, err := strconv.ParseUint(text, 10, 63)
	if err != nil {
		return 0, invalid("invalid_sampling", "seed", fmt.Sprintf("must be a whole number from 0 to %d", math.MaxInt64))
	}
	return seed, nil
}
