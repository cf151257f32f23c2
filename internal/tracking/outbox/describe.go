package outbox

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/config"
	"github.com/captioner/captioner/internal/tracking/mlflow"
)

// The tags by which the server's runs and versions are found again.
const (
	tagRun      = "captioner.run_id"
	tagTraining = "captioner.training" // the run key
	tagVersion  = "captioner.version"
)

// introduction is what is known of a run from its beginning.
func (r *run) introduction() mlflow.Batch {
	o := r.outbox.opts
	about := map[string]string{
		tagRun: r.record.ID, tagTraining: r.delivery.RunKey, "captioner.started_by": r.record.Actor,
		"captioner.config_hash": configHash(r.record.Config), "captioner.program": o.Build.Version,
		"mlflow.source.name": "captioner", "mlflow.source.type": "JOB",
		"mlflow.source.git.commit": o.Build.Commit, "mlflow.source.git.branch": o.Build.Branch,
	}
	if link := o.link("runs", r.record.ID); link != "" {
		about["captioner.url"], about["mlflow.note.content"] = link, "[The run's page]("+link+")"
	}
	return mlflow.Batch{Params: params(r.record.Config), Tags: tags(about)}
}

// conclusion is what is known of a run at its end.
func (r *run) conclusion() []mlflow.Tag {
	about := map[string]string{"captioner.state": string(r.record.State), "captioner.error": r.record.Message}
	if p := r.record.Progress; p != nil {
		about["captioner.dataset"], about["captioner.trace_id"] = string(p.Dataset), p.TraceID
	}
	if result := r.record.Result; result != nil {
		about[tagVersion] = string(result.Version)
		about["captioner.decision"] = string(result.Decision.Outcome)
		about["captioner.reasons"] = strings.Join(result.Decision.Reasons, "; ")
		about["captioner.deployed"] = fmt.Sprint(result.Deployed)
		about["captioner.reused"] = strings.Join(result.Reused, ", ")
	}
	return tags(about)
}

// tags leaves out what has no value.
func tags(about map[string]string) []mlflow.Tag {
	var list []mlflow.Tag
	for _, key := range slices.Sorted(maps.Keys(about)) {
		if about[key] != "" {
			list = append(list, mlflow.Tag{Key: key, Value: about[key]})
		}
	}
	return list
}

// link is the address of a page of ours; empty where that is not known.
func (o Options) link(kind, name string) string {
	if o.PageURL == "" {
		return ""
	}
	return o.PageURL + "/ui/" + kind + "/" + url.PathEscape(name)
}

// configHash is the digest of a configuration that versions carry too; empty for
// one that a run has failed for.
func configHash(data []byte) string {
	var cfg captioner.Config
	if json.Unmarshal(data, &cfg) != nil {
		return ""
	}
	digest, err := config.Digest(cfg)
	if err != nil {
		return ""
	}
	return string(digest)
}

// params are a configuration's fields under their dotted names.
func params(data []byte) []mlflow.Param {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var fields map[string]any
	if decoder.Decode(&fields) != nil {
		return nil // what a run has failed for is in its error
	}
	return flatten("", fields)
}

func flatten(prefix string, fields map[string]any) []mlflow.Param {
	var params []mlflow.Param
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		switch value := fields[name].(type) {
		case map[string]any:
			params = append(params, flatten(prefix+name+".", value)...)
		case []any:
			text, _ := json.Marshal(value) // was JSON before
			params = append(params, mlflow.Param{Key: prefix + name, Value: string(text)})
		default:
			params = append(params, mlflow.Param{Key: prefix + name, Value: fmt.Sprint(cmp.Or(value, any("")))})
		}
	}
	return params
}
