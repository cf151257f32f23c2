package captioner

import "time"

// Scores are the results of one decoding algorithm on one split. Numbers lie
// in [0, 1] and are multiplied by 100 only when printed.
type Scores struct {
	Algorithm string `json:"algorithm"`
	// Signature names all that the numbers depend on; scores with different
	// signatures are not comparable.
	Signature string  `json:"signature"`
	BLEU1     float64 `json:"bleu1"`
	BLEU2     float64 `json:"bleu2"`
	BLEU3     float64 `json:"bleu3"`
	BLEU4     float64 `json:"bleu4"`
	// The same with NLTK's smoothing method 1, as the original reports them.
	BLEU1Method1 float64 `json:"bleu1_method1"`
	BLEU2Method1 float64 `json:"bleu2_method1"`
	BLEU3Method1 float64 `json:"bleu3_method1"`
	BLEU4Method1 float64 `json:"bleu4_method1"`
	Images       int     `json:"images"`
	// CollapseShare is the share of the pictures that got the most frequent
	// caption; CollapseReferenceShare is that caption's share of all references.
	CollapseShare          float64 `json:"collapse_share"`
	CollapseReferenceShare float64 `json:"collapse_reference_share"`
	// Metrics are the scores beside BLEU that ml/metrics has registered, by name.
	Metrics map[string]float64 `json:"metrics,omitempty"`
}

// SampleCaption shows what a model says beside what people say.
type SampleCaption struct {
	Image     string `json:"image"`
	Greedy    string `json:"greedy"`
	Beam      string `json:"beam"`
	Reference string `json:"reference"`
}

// Evaluation is the content of a bundle's evaluation.json.
type Evaluation struct {
	// Scores has one entry per algorithm: greedy, then beam, then others by name.
	Scores []Scores `json:"scores"`
	// Demonstration holds what can be measured only where the truth of each
	// picture is known, by name; empty for other data sets.
	Demonstration map[string]float64 `json:"demonstration,omitempty"`
	Samples       []SampleCaption    `json:"samples"`
}

// Score returns the scores of the algorithm, and whether there are any.
func (e Evaluation) Score(algorithm string) (Scores, bool) {
	for _, s := range e.Scores {
		if s.Algorithm == algorithm {
			return s, true
		}
	}
	return Scores{}, false
}

// Lineage is the content of a bundle's lineage.json: what the version was made
// from. It holds no time, path, address or run ID, so that equal inputs give
// an equal version.
type Lineage struct {
	// Dataset is empty for an imported version.
	Dataset Digest `json:"dataset,omitempty"`
	// Config is the digest of the configuration without its paths.
	Config Digest `json:"config"`
	// Weights is the digest of the file of weights that the encoder began with;
	// empty for one that was trained from scratch.
	Weights Digest `json:"weights,omitempty"`
	// WordVectors is the digest of the file that the words' vectors started with;
	// empty for random ones.
	WordVectors Digest `json:"word_vectors,omitempty"`
	// ResultVersions are the hand-raised versions of the steps that made it.
	ResultVersions map[string]int `json:"result_versions"`
	TensorFlow     string         `json:"tensorflow"`
	Threads        int            `json:"threads"`
	Seeds          struct {
		Data     uint64 `json:"data"`
		Training uint64 `json:"training"`
	} `json:"seeds"`
	// Continues is the digest of the checkpoint of another training that this
	// one went on from; empty for one from the seed.
	Continues Digest `json:"continues,omitempty"`
	// Imported are the files of a version that the original system has trained.
	Imported *Imported `json:"imported,omitempty"`
}

// ModelVersion is a row of the registry. Its Version is the SHA-256 of the
// bundle's manifest.json.
type ModelVersion struct {
	Version    Digest      `json:"version"`
	RunID      string      `json:"run_id"`
	CreatedAt  time.Time   `json:"created_at"`
	Evaluation Evaluation  `json:"evaluation"`
	Lineage    Lineage     `json:"lineage"`
	Training   TrainResult `json:"training"`
	// PinnedAt is when a person had the version kept for good, RegisteredAt when
	// a run last made it, DeletedAt when retention deleted its files. The store
	// sets them.
	PinnedAt     *time.Time `json:"pinned_at,omitempty"`
	RegisteredAt time.Time  `json:"-"`
	DeletedAt    *time.Time `json:"deleted_at,omitempty"`
}

// Production is the alias of the version that is served.
const Production = "production"

// Alias is a movable name of a version. Generation counts its moves from 1;
// moves compare and set it.
type Alias struct {
	Name       string `json:"name"`
	Version    Digest `json:"version"`
	Generation int64  `json:"generation"`
}

// AliasMove is a row of the append-only deployment log: the version was live
// from MovedAt until the next move.
type AliasMove struct {
	Alias
	// Previous is the version before, empty for the first.
	Previous Digest    `json:"previous,omitempty"`
	Kind     MoveKind  `json:"kind"`
	MovedAt  time.Time `json:"moved_at"`
	// Actor is who is behind the move: a run's ID, "api", or "cli:" and the
	// name of the user. Reason says why.
	Actor  string `json:"actor"`
	Reason string `json:"reason"`
	// Record is the digest of the move's [MoveRecord]; empty for a move of before
	// there were any.
	Record Digest `json:"-"`
}

// MoveKind tells a move forward from one that undoes such a move.
type MoveKind string

const (
	Promotion MoveKind = "promote"  // makes a version live
	Rollback  MoveKind = "rollback" // goes back to the version that was live before
)

// Deployment is what has become of a promotion or a rollback.
type Deployment struct {
	// Version is live; Previous was until this deployment, empty if none was.
	Version  Digest `json:"version"`
	Previous Digest `json:"previous,omitempty"`
	// Generation is the alias'.
	Generation int64 `json:"generation"`
	// Moved is false where the version was live already.
	Moved bool `json:"moved"`
	// Servers is how many have said that they serve the version. Confirmed
	// means that all that are running have, and that there is one.
	Servers   int  `json:"servers"`
	Confirmed bool `json:"confirmed"`
	// Note says what is worth knowing.
	Note string `json:"note,omitempty"`
}

// Replica is a serving process and the version that it serves.
type Replica struct {
	ID         string    `json:"id"`
	Version    Digest    `json:"version"`
	Generation int64     `json:"generation"`
	SeenAt     time.Time `json:"seen_at"`
	// Error says why the replica could not load the alias' version; empty if it could.
	Error string `json:"error,omitempty"`
}

// Decision is the outcome of the promotion gate.
type Decision struct {
	// Outcome is Promote, Hold or Reject.
	Outcome Outcome  `json:"outcome"`
	Reasons []string `json:"reasons"`
	// Live and Generation are the alias that was compared against.
	Live       Digest `json:"live,omitempty"`
	Generation int64  `json:"generation"`
}

// Outcome of a decision.
type Outcome string

const (
	Promote Outcome = "promote" // good enough: goes live
	Hold    Outcome = "hold"    // worse than the live version: kept, not live
	Reject  Outcome = "reject"  // collapsed: never live by itself
)
