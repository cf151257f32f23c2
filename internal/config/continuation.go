package config

import (
	"fmt"
	"reflect"

	"github.com/captioner/captioner"
)

// Continue returns the configuration of a run, as its record has it in JSON, and
// that of one that goes on from its training: the same but for the changes, a
// JSON object. What must stay as it was is reported with everything else that
// is wrong.
func Continue(recorded, changes []byte) (before, after captioner.Config, err error) {
	if before, err = Merge(captioner.DefaultConfig(), recorded); err != nil {
		return before, after, err
	}
	after, err = merge(before, changes, JSON, func(c captioner.Config) []captioner.Problem { return differences(before, c) })
	return before, after, err
}

// differences reports the fields that a run that goes on from another cannot
// change: all but how its training goes on and what becomes of the model.
func differences(before, after captioner.Config) []captioner.Problem {
	var problems []captioner.Problem
	for _, section := range []struct {
		name          string
		before, after any
	}{
		{"data", before.Data, after.Data},
		{"model", before.Model, after.Model},
		{"training", before.Training.Lasting(), after.Training.Lasting()},
	} {
		problems = append(problems, differing(section.name, reflect.ValueOf(section.before), reflect.ValueOf(section.after))...)
	}
	return problems
}

func differing(name string, before, after reflect.Value) []captioner.Problem {
	if before.Kind() != reflect.Struct {
		if before.Equal(after) {
			return nil
		}
		return []captioner.Problem{{Field: name, Message: fmt.Sprintf("must stay %s, as in the run that is continued", scalar(before))}}
	}
	var problems []captioner.Problem
	for i := range before.NumField() {
		problems = append(problems, differing(join(name, keyOf(before.Type().Field(i))), before.Field(i), after.Field(i))...)
	}
	return problems
}
