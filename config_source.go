package captioner

import _ "embed" // for ConfigSource

// ConfigSource is the source of [Config]. The comments of its fields describe
// them wherever a user meets them; internal/config reads them from here.
//
//go:embed config.go
var ConfigSource string
