package config

import (
	"embed"
	"fmt"
	"slices"
	"strings"

	"github.com/captioner/captioner"
)

// presetKey is the key of a file, beside its sections, that names the preset
// over which the file is read.
const presetKey = "preset"

// Kaggle is the preset that finds its data itself.
const Kaggle = "kaggle"

//go:embed presets/*.yaml
var presetFiles embed.FS

// Presets returns the names of the presets, sorted. Each is a file of this
// package that names what differs from the defaults, or from another preset.
func Presets() []string {
	entries, _ := presetFiles.ReadDir("presets") // embedded: it is there
	var names []string
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".yaml"))
	}
	return names
}

// PresetFile returns the content of a preset's file.
func PresetFile(name string) ([]byte, error) {
	data, err := presetFiles.ReadFile("presets/" + name + ".yaml")
	if err != nil {
		return nil, captioner.Errorf(captioner.Invalid, "there is no preset %q, only %s", name, strings.Join(Presets(), ", "))
	}
	return data, nil
}

// preset decodes the preset that a tree names, if any, into c, and returns its
// name. What is wrong with the name is reported to d.
func (d *decoder) preset(c *captioner.Config, tree node) string {
	at := slices.IndexFunc(tree.entries, func(e entry) bool { return e.key == presetKey })
	if tree.kind != object || at < 0 {
		return ""
	}
	value := tree.entries[at].value
	d.at[presetKey] = value.position
	if value.kind == null || value.text == "" && value.kind == quoted {
		return ""
	}
	if value.kind != plain && value.kind != quoted || !slices.Contains(Presets(), value.text) {
		message := fmt.Sprintf("must be %s, is %s", strings.Join(Presets(), " or "), describe(value))
		if name := nearest(value.text, Presets()); name != "" {
			message += fmt.Sprintf(": did you mean %q?", name)
		}
		d.report(presetKey, value.position, message)
		d.broken[presetKey] = true
		return ""
	}
	applyPreset(c, value.text)
	return value.text
}

// applyPreset decodes a preset's file over c, after the one that it builds on. A
// test holds that every file can be read.
func applyPreset(c *captioner.Config, name string) {
	data, _ := PresetFile(name)
	tree, _ := readYAML(data)
	d := newDecoder()
	d.preset(c, tree)
	d.decode(c, tree)
}
