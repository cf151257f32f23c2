package api_test

import "testing"

func TestShowConfigSchema(t *testing.T) {
	run(t, []scenario{
		{name: "schema", path: "/config/schema"},
		{name: "bundle", path: "/config/schema", options: bundleOnly},
	})
}
