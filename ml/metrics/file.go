package metrics

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/captioner/captioner"
)

// Result is what `captioner score` prints of a file. Scores lie in [0, 1].
type Result struct {
	BLEU1        float64 `json:"bleu1"`
	BLEU2        float64 `json:"bleu2"`
	BLEU3        float64 `json:"bleu3"`
	BLEU4        float64 `json:"bleu4"`
	BLEU1Method1 float64 `json:"bleu1_method1"`
	BLEU2Method1 float64 `json:"bleu2_method1"`
	BLEU3Method1 float64 `json:"bleu3_method1"`
	BLEU4Method1 float64 `json:"bleu4_method1"`
	// Metrics are the scores beside BLEU, by name.
	Metrics   map[string]float64 `json:"metrics,omitempty"`
	Images    int                `json:"images"`
	Signature string             `json:"signature"`
}

// maxProblems bounds how many problems of a file are listed singly.
const maxProblems = 100

// ScoreFile reads captions and references as JSON and scores them:
//
//	{"hyps": ["a dog runs", ...], "refs": [["a dog is running", ...], ...]}
//
// hyps has a caption per picture, refs the references of each; other members
// are ignored. The tokenizer is "split". All that is wrong with the file comes
// back at once as the problems of an Invalid error; a failing read is Internal.
func ScoreFile(r io.Reader, tokenizerName string) (Result, error) {
	if _, err := tokenizer(tokenizerName); err != nil {
		return Result{}, err
	}
	data, err := io.ReadAll(r)
	if err != nil {
		return Result{}, captioner.Wrap(captioner.Internal, err, "read the score file")
	}
	hyps, refs, err := parseScoreFile(data)
	if err != nil {
		return Result{}, err
	}
	s, err := score(hyps, refs, Signature{Tokenizer: tokenizerName})
	if err != nil {
		return Result{}, err
	}
	return Result{
		BLEU1: s.BLEU1, BLEU2: s.BLEU2, BLEU3: s.BLEU3, BLEU4: s.BLEU4,
		BLEU1Method1: s.BLEU1Method1, BLEU2Method1: s.BLEU2Method1, BLEU3Method1: s.BLEU3Method1, BLEU4Method1: s.BLEU4Method1,
		Metrics: s.Metrics, Images: s.Images, Signature: s.Signature,
	}, nil
}

// scoreParser collects the problems of a file.
type scoreParser struct {
	problems []captioner.Problem
	count    int
}

func (p *scoreParser) problem(field, format string, args ...any) {
	if p.count++; p.count <= maxProblems {
		p.problems = append(p.problems, captioner.Problem{Field: field, Message: fmt.Sprintf(format, args...)})
	}
}

func (p *scoreParser) err() error {
	if p.count == 0 {
		return nil
	}
	if more := p.count - maxProblems; more > 0 {
		p.problems = append(p.problems, captioner.Problem{Message: fmt.Sprintf("%d more problems", more)})
	}
	return &captioner.Error{Kind: captioner.Invalid, Code: "invalid_score_file", Message: "the score file cannot be used", Problems: p.problems}
}

func parseScoreFile(data []byte) (hyps []string, refs [][]string, err error) {
	p := &scoreParser{}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(data, &members); err != nil {
		p.syntax(data, err)
		return nil, nil, p.err()
	}
	rawHyps := p.list(members, "hyps", "a list of captions")
	rawRefs := p.list(members, "refs", "a list of lists of references")
	for i, raw := range rawHyps {
		hyps = append(hyps, p.text(raw, fmt.Sprintf("hyps[%d]", i)))
	}
	for i, raw := range rawRefs {
		refs = append(refs, p.references(raw, fmt.Sprintf("refs[%d]", i)))
	}
	if p.count == 0 && len(hyps) != len(refs) {
		p.problem("refs", "there are %d lists of references for %d captions", len(refs), len(hyps))
	}
	return hyps, refs, p.err()
}

// syntax reports what makes the file no JSON object, with its position.
func (p *scoreParser) syntax(data []byte, err error) {
	problem := captioner.Problem{Message: `must be a JSON object, {"hyps": [...], "refs": [[...], ...]}`}
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		before := string(data[:min(int(syntax.Offset), len(data))])
		problem.Line = strings.Count(before, "\n") + 1
		problem.Column = max(1, len(before)-strings.LastIndexByte(before, '\n')-1)
		problem.Message = "is not JSON: " + syntax.Error()
	}
	p.count++
	p.problems = append(p.problems, problem)
}

func (p *scoreParser) list(members map[string]json.RawMessage, name, what string) []json.RawMessage {
	raw, ok := members[name]
	if !ok {
		p.problem(name, "is missing; it must be %s", what)
		return nil
	}
	var list []json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil || list == nil {
		p.problem(name, "must be %s", what)
		return nil
	}
	if len(list) == 0 {
		p.problem(name, "is empty")
	}
	return list
}

func (p *scoreParser) text(raw json.RawMessage, field string) string {
	var s *string
	if err := json.Unmarshal(raw, &s); err != nil || s == nil {
		p.problem(field, "must be a string")
		return ""
	}
	return *s
}

func (p *scoreParser) references(raw json.RawMessage, field string) []string {
	var list []json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil || list == nil {
		p.problem(field, "must be a list of references")
		return nil
	}
	if len(list) == 0 {
		p.problem(field, "has no reference")
	}
	texts := make([]string, len(list))
	for i, r := range list {
		texts[i] = p.text(r, fmt.Sprintf("%s[%d]", field, i))
	}
	return texts
}
