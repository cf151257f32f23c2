package captioner_test

import (
	"strings"
	"testing"
	"time"

	"github.com/captioner/captioner"
)

func TestScheduleCheck(t *testing.T) {
	good := captioner.Schedule{Name: "nightly", Cron: "0 3 * * *", TimeZone: "Europe/Berlin", Jitter: captioner.Duration(time.Minute)}
	every := captioner.Schedule{Name: "1.a_B-c", Every: captioner.Duration(24 * time.Hour), Overlap: captioner.OverlapBuffer}
	for _, test := range []struct {
		name   string
		base   captioner.Schedule
		change func(*captioner.Schedule)
		fields string // of the problems
	}{
		{"cron", good, func(*captioner.Schedule) {}, ""},
		{"interval", every, func(*captioner.Schedule) {}, ""},
		{"no name", good, func(s *captioner.Schedule) { s.Name = "" }, "name"},
		{"a name for another folder", good, func(s *captioner.Schedule) { s.Name = "../x" }, "name"},
		{"a long name", good, func(s *captioner.Schedule) { s.Name = strings.Repeat("x", 65) }, "name"},
		{"no times", good, func(s *captioner.Schedule) { s.Cron, s.TimeZone = "", "" }, "cron"},
		{"two kinds of times", good, func(s *captioner.Schedule) { s.Every = every.Every }, "every"},
		{"a short interval", every, func(s *captioner.Schedule) { s.Every = captioner.Duration(time.Second) }, "every"},
		{"a negative interval", every, func(s *captioner.Schedule) { s.Every = -1 }, "every"},
		{"a zone of no clock", every, func(s *captioner.Schedule) { s.TimeZone = "UTC" }, "time_zone"},
		{"all at once", good, func(s *captioner.Schedule) { s.Name, s.Jitter, s.Overlap = "", -1, "allow" }, "name jitter overlap"},
	} {
		s := test.base
		test.change(&s)
		var fields []string
		for _, p := range s.Check() {
			fields = append(fields, p.Field)
		}
		if got := strings.Join(fields, " "); got != test.fields {
			t.Errorf("%s: problems of %q, want %q", test.name, got, test.fields)
		}
	}
}
