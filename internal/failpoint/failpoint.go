// Package failpoint names the places where a process can die at the worst
// moment: after a step's work and before anybody knows of it, between a file's
// bytes and its name, before and after a commit. The tests of crash safety kill
// it there, see internal/e2e.
//
// In an ordinary build [Reached] and [ReachedBy] are empty, and the compiler drops
// them with their names. With the build tag "failpoints" a process that reaches a point kills
// itself with SIGKILL if the folder that the variable CAPTIONER_FAILPOINTS names
// holds a file of the point's name. The file goes first, so that each point
// kills once.
package failpoint

// Variable names the folder of the points that are armed.
const Variable = "CAPTIONER_FAILPOINTS"

// The points that have one place each.
const (
	// Extracted and Trained are the engine's, with its files written and its
	// answer not yet sent.
	Extracted = "extracted"
	Trained   = "trained"
	// BundleHashed has every file of a bundle stored, and not its manifest.
	BundleHashed = "bundle hashed"
	// DeploymentWritten has the files of a deployment laid out.
	DeploymentWritten = "deployment written"
)

// The points that several pass, see [ReachedBy].
const (
	// Written, Synced and Renamed follow the kind of a file, such as a blob: its
	// bytes written, on the disk, named.
	Written = " written and not synced"
	Synced  = " synced and not named"
	Renamed = " named and its folder not synced"
	// Done is after an activity's work and before its completion.
	Done = "done: "
	// BeforeCommit and AfterCommit are around the commit of a change to the
	// database.
	BeforeCommit = "before commit: "
	AfterCommit  = "after commit: "
)

// All lists every point that a run passes that trains, goes live and leaves out
// a picture that does not decode.
func All() []string {
	points := []string{Extracted, Trained, BundleHashed, DeploymentWritten}
	for _, kind := range []string{"tensors", "shard", "blob", "file"} {
		points = append(points, kind+Written, kind+Synced, kind+Renamed)
	}
	for _, activity := range []string{
		"ValidateConfig", "PrepareData", "ExtractFeatures", "ExcludeImages", "Train", "CaptionShard", "Evaluate",
		"RegisterVersion", "DecidePromotion", "WriteDeploymentManifest", "Deploy", "RecordRun",
	} {
		points = append(points, Done+activity)
	}
	for _, change := range []string{
		"begin an attempt", "record a run", "keep a step's result", "claim a training attempt", "append metrics",
		"record a checkpoint", "record a model version", "move an alias", "record the progress of a run",
		"record the outcome of a run",
	} {
		points = append(points, BeforeCommit+change, AfterCommit+change)
	}
	return points
}
