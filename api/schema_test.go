package api_test

import "testing"

func TestShowConfigSchema(t *testing.T) {
	run(t, []scenario{
		{name: "schema", path: "/config/schema"},
		{name: "no preset", path: "/config"},
		{name: "preset", path: "/config?preset=original"},
		{name: "unknown preset", path: "/config?preset=flikr8k"},
		{name: "bundle preset", path: "/config?preset=original", options: bundleOnly},
		{name: "bundle", path: "/config/schema", options: bundleOnly},
	})
}
