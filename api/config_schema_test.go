package api_test

import "testing"

func TestConfigSchema(t *testing.T) {
	run(t, []scenario{
		{name: "schema", path: "/config/schema"},
		{name: "bundle", path: "/config/schema", options: bundleOnly},
	})
}
