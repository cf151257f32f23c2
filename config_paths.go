package captioner

// ConfigPath is a field of a configuration that holds a path.
type ConfigPath struct {
	// Field is its name in files, such as "data.images".
	Field string
	Path  *string
}

// Paths returns every path of the configuration, in order.
func (c *Config) Paths() []ConfigPath {
	return []ConfigPath{
		{"data.images", &c.Data.Images},
		{"data.captions", &c.Data.Captions},
		{"data.split_files.train", &c.Data.SplitFiles.Train},
		{"data.split_files.validation", &c.Data.SplitFiles.Validation},
		{"data.split_files.test", &c.Data.SplitFiles.Test},
		{"data.glove", &c.Data.GloVe},
		{"model.weights", &c.Model.Weights},
	}
}
