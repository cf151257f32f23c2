package captioner

import (
	"fmt"
	"regexp"
	"time"
)

// Overlap says what a schedule does when it is time for a run while its last
// one is still under way.
type Overlap string

const (
	// OverlapSkip leaves the new run out.
	OverlapSkip Overlap = "skip"
	// OverlapBuffer starts the new run when the last one has ended; of several
	// that wait only the first is kept.
	OverlapBuffer Overlap = "buffer"
	// OverlapCancel cancels the last run and then starts the new one.
	OverlapCancel Overlap = "cancel"
)

const (
	// minEvery and maxEvery bound a schedule's interval, maxJitter what is added
	// to its times by chance.
	minEvery, maxEvery = time.Minute, 366 * 24 * time.Hour
	maxJitter          = 24 * time.Hour
)

// Schedule starts runs of one configuration at certain times. A run whose data
// is what the schedule's last completed run was trained on ends without any
// work, as RunUnchanged.
type Schedule struct {
	// Name is the schedule's ID in Temporal and begins the IDs of its runs.
	Name string `json:"name"`
	// Cron has five fields: minute, hour, day of the month, month, day of the
	// week. Every is an interval, counted from 1970-01-01. One of the two is set.
	Cron  string   `json:"cron,omitempty"`
	Every Duration `json:"every,omitempty"`
	// TimeZone is where Cron's clock stands, an IANA name; empty is UTC.
	TimeZone string `json:"time_zone,omitempty"`
	// Jitter is the most that is added to each time by chance.
	Jitter Duration `json:"jitter,omitempty"`
	// Overlap is what becomes of a run whose time comes before the last one has
	// ended; empty is OverlapSkip.
	Overlap Overlap `json:"overlap,omitempty"`
	// Force trains whether or not the data has changed.
	Force bool `json:"force,omitempty"`
	// Paused starts nothing until the schedule is resumed.
	Paused bool `json:"paused"`
	// Config is what each run is started with. It is nil in a list.
	Config *Config `json:"config,omitempty"`

	// Next are the next times, without jitter, Runs the last runs, the newest
	// first. Both are told, and not asked for.
	Next []time.Time    `json:"next,omitempty"`
	Runs []ScheduledRun `json:"runs,omitempty"`
}

// ScheduledRun is a run that a schedule has started.
type ScheduledRun struct {
	ID        string    `json:"id"`
	StartedAt time.Time `json:"started_at"`
	// State is where the run stands; empty in a list.
	State RunState `json:"state,omitempty"`
}

// scheduleName is what a name may be: it stands in addresses and in run IDs.
var scheduleName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// Check returns everything that is wrong with a schedule that is to be made,
// its configuration aside. Whether Temporal can read Cron and knows TimeZone is
// for it to say.
func (s Schedule) Check() (problems []Problem) {
	add := func(field, format string, args ...any) {
		problems = append(problems, Problem{Field: field, Message: fmt.Sprintf(format, args...)})
	}
	if !scheduleName.MatchString(s.Name) {
		add("name", "must be of letters, digits, '.', '_' and '-', begin with a letter or a digit, and have at most 64 characters")
	}
	every, jitter := time.Duration(s.Every), time.Duration(s.Jitter)
	switch {
	case s.Cron == "" && every == 0:
		add("cron", `say when: cron has five fields such as "0 3 * * *", every is an interval such as "24h"`)
	case s.Cron != "" && every != 0:
		add("every", "leave it out, or cron: they exclude each other")
	case s.Cron == "" && (every < minEvery || every > maxEvery):
		add("every", "must be from %v to %v, is %v", minEvery, maxEvery, every)
	}
	if s.TimeZone != "" && s.Cron == "" {
		add("time_zone", "is for cron: an interval has no time of the day")
	}
	if jitter < 0 || jitter > maxJitter {
		add("jitter", "must be from 0 to %v, is %v", maxJitter, jitter)
	}
	switch s.Overlap {
	case "", OverlapSkip, OverlapBuffer, OverlapCancel:
	default:
		add("overlap", "must be %s, %s or %s, is %q", OverlapSkip, OverlapBuffer, OverlapCancel, s.Overlap)
	}
	return problems
}
