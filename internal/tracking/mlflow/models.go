package mlflow

import (
	"context"
	"net/url"

	"github.com/captioner/captioner"
)

// ModelVersion is a version in the model registry, which numbers them from 1.
type ModelVersion struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	RunID   string `json:"run_id"`
	// Source is where the model lies, such as runs:/ID/PATH.
	Source      string `json:"source"`
	Description string `json:"description"`
	Tags        []Tag  `json:"tags"`
}

// CreateModelVersion adds a version, and the model first where it is missing.
func (c *Client) CreateModelVersion(ctx context.Context, v ModelVersion) (ModelVersion, error) {
	err := c.post(ctx, "registered-models/create", map[string]any{"name": v.Name}, nil)
	if err != nil && captioner.KindOf(err) != captioner.Conflict {
		return ModelVersion{}, err
	}
	var reply struct {
		Version ModelVersion `json:"model_version"`
	}
	v.Tags = cutTags(v.Tags)
	err = c.post(ctx, "model-versions/create", v, &reply)
	return reply.Version, err
}

// ModelVersionTagged returns the model's first version with that tag; NotFound.
func (c *Client) ModelVersionTagged(ctx context.Context, name, key, value string) (ModelVersion, error) {
	var reply struct {
		Versions []ModelVersion `json:"model_versions"`
	}
	query := url.Values{"filter": {"name = '" + name + "' and " + tagFilter(key, value)}, "max_results": {"100"}}
	if err := c.get(ctx, "model-versions/search", query, &reply); err != nil {
		return ModelVersion{}, err
	}
	if len(reply.Versions) == 0 {
		return ModelVersion{}, captioner.Errorf(captioner.NotFound, "MLflow's registry does not have the version")
	}
	return reply.Versions[len(reply.Versions)-1], nil // the newest come first
}

// SetAlias points an alias of the model at a version.
func (c *Client) SetAlias(ctx context.Context, name, alias, version string) error {
	return c.post(ctx, "registered-models/alias", map[string]any{"name": name, "alias": alias, "version": version}, nil)
}
