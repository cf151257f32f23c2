package captioner

import (
	"context"
	"encoding/json"
	"io"
	"time"
)

// BlobStore keeps bytes under their SHA-256. What it returns has been
// verified. internal/blob implements it, internal/blob/blobtest tests it.
type BlobStore interface {
	// Put stores what r gives, durably, and returns its digest and size. Bytes
	// that are there already count as put now.
	Put(ctx context.Context, r io.Reader) (Digest, int64, error)
	// Open returns the blob. Reading it to the end verifies it: the last Read
	// fails with kind Corrupt, never io.EOF, when the bytes do not match.
	// NotFound when there is none.
	Open(ctx context.Context, d Digest) (io.ReadCloser, error)
	// Local returns the path of a read-only, verified file with the blob's
	// bytes on this machine. It stays until the process ends.
	Local(ctx context.Context, d Digest) (path string, err error)
	// Has reports whether the blob is there, without verifying it.
	Has(ctx context.Context, d Digest) (bool, error)
	// Delete removes the blob; one that is not there is no error. Only what
	// nothing refers to any more may be deleted.
	Delete(ctx context.Context, d Digest) error
	// DeleteOlder deletes a blob that was last put before that time, and reports
	// whether it did. A Put at the same moment either comes first, and the blob
	// stays, or finds it gone and stores it anew.
	DeleteOlder(ctx context.Context, d Digest, before time.Time) (deleted bool, err error)
	// List calls visit for each blob, in no order, until it returns an error. One
	// that is put or deleted meanwhile may be among them or not.
	List(ctx context.Context, visit func(BlobInfo) error) error
}

// BlobInfo is what a store tells of a blob without reading it.
type BlobInfo struct {
	Digest Digest
	// Size is in bytes.
	Size int64
	// PutAt is when the blob was last put.
	PutAt time.Time
}

// BlobOpener is the part of a BlobStore that reads.
type BlobOpener interface {
	Open(ctx context.Context, d Digest) (io.ReadCloser, error)
}

// ReadBlob returns a blob's bytes. It reads to the end first: only then are they
// verified.
func ReadBlob(ctx context.Context, blobs BlobOpener, d Digest) (data []byte, err error) {
	r, err := blobs.Open(ctx, d)
	if err != nil {
		return nil, err
	}
	defer func() {
		if closeErr := r.Close(); err == nil {
			err = closeErr
		}
	}()
	return io.ReadAll(r)
}

// ReadJSON decodes a blob of JSON into v; what is none is Corrupt.
func ReadJSON(ctx context.Context, blobs BlobOpener, d Digest, v any) error {
	data, err := ReadBlob(ctx, blobs, d)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return Wrap(Corrupt, err, "decode blob %s", d.Short())
	}
	return nil
}

// Store keeps the records that are not blobs. internal/store implements it
// for SQLite, internal/store/storetest tests any implementation. Every method
// returns Unavailable when the database cannot be reached.
//
// Changes made in the context of an [Attempt] fail with Conflict, code
// "stale_attempt", once a newer attempt at the same work has begun.
type Store interface {
	// BeginAttempt makes the attempt that ctx belongs to the one that counts,
	// unless a newer one has begun: then Conflict. CheckAttempt says so without
	// changing anything, for what is written elsewhere. Both do nothing in a
	// context without one.
	BeginAttempt(ctx context.Context) error
	CheckAttempt(ctx context.Context) error

	// StepResult returns the output kept under a pure step's key; NotFound
	// when there is none. PutStepResult keeps the first output of a key and
	// returns the one that is kept.
	StepResult(ctx context.Context, key string) (output []byte, err error)
	PutStepResult(ctx context.Context, key, step string, output []byte) (kept []byte, err error)
	// DeleteStepResult forgets a result whose blobs are gone.
	DeleteStepResult(ctx context.Context, key string) error

	// PutCheckpoint records a checkpoint unless a newer attempt has recorded
	// one already: then Conflict. Checkpoint returns the latest; NotFound.
	PutCheckpoint(ctx context.Context, c Checkpoint) error
	Checkpoint(ctx context.Context, runKey string) (Checkpoint, error)
	// ClaimAttempt returns a number higher than that of any attempt at runKey
	// before, and fences the older ones off: their PutCheckpoint and
	// AppendMetrics fail with Conflict from then on.
	ClaimAttempt(ctx context.Context, runKey string) (attempt int64, err error)

	// AppendMetrics adds points; a point with the same run key, step and name
	// replaces the old one, so that a resumed training leaves no duplicates.
	AppendMetrics(ctx context.Context, attempt int64, points []Metric) error
	// Metrics returns the points of a run in the order of writing, from the
	// sequence number after on; sequence is the last one returned.
	Metrics(ctx context.Context, runKey string, after int64, limit int) (points []Metric, sequence int64, err error)
	// LatestMetrics returns each metric's value of the highest step.
	LatestMetrics(ctx context.Context, runKey string) (map[string]float64, error)

	// PutSamples adds what the model said at the end of an epoch, fenced and
	// replaced as metrics are. Samples returns them in the order of writing,
	// from the sequence number after on.
	PutSamples(ctx context.Context, attempt int64, samples []Sample) error
	Samples(ctx context.Context, runKey string, after int64, limit int) (samples []Sample, sequence int64, err error)
	// SamplePicture returns the blob of a sample's picture; NotFound for an
	// image that is no sample of the training.
	SamplePicture(ctx context.Context, runKey, image string) (Digest, error)

	// PutRun records a run's configuration when it starts; the first record of
	// an ID wins, and created reports whether this was it.
	PutRun(ctx context.Context, r RunRecord) (kept RunRecord, created bool, err error)
	RunRecord(ctx context.Context, id string) (RunRecord, error)
	// FinishRun records the outcome; RunRecords lists the newest first.
	FinishRun(ctx context.Context, id string, state RunState, result *RunResult, message string) error
	RunRecords(ctx context.Context, limit int) ([]RunRecord, error)
	// PutProgress replaces what is known of a run's stages and training;
	// NotFound for a run that was never recorded.
	PutProgress(ctx context.Context, id string, p Progress) error

	// PutDelivery records how much of a run a tracking server has; NotFound for
	// a run that was never recorded. Delivery returns a run's latest one, to
	// whichever server; NotFound. Undelivered lists those to a server that are
	// not complete among those of the newest runs, the newest first.
	PutDelivery(ctx context.Context, d Delivery) error
	Delivery(ctx context.Context, runID string) (Delivery, error)
	Undelivered(ctx context.Context, server string, newest int) ([]Delivery, error)
	// TakeLease gives the holder the lease of that name for a time, or prolongs
	// it; false while another holds it. GiveBackLease ends one before its time.
	TakeLease(ctx context.Context, name, holder string, length time.Duration) (held bool, err error)
	GiveBackLease(ctx context.Context, name, holder string) error

	// PutModelVersion adds a version; one that is there already stays as it is.
	PutModelVersion(ctx context.Context, v ModelVersion) error
	// ModelVersion finds a version by its digest or a unique prefix of at
	// least four characters; ModelVersions lists the newest first.
	ModelVersion(ctx context.Context, version string) (ModelVersion, error)
	ModelVersions(ctx context.Context, limit int) ([]ModelVersion, error)
	// PinVersion keeps a version's files for good, or leaves them to retention
	// again. NotFound; Conflict for a version whose files are deleted.
	PinVersion(ctx context.Context, version Digest, pinned bool) error

	// Alias returns NotFound for a name that was never set. MoveAlias points
	// it at version if its generation is still the given one (0: never set),
	// else Conflict, and appends to the log in the same transaction.
	Alias(ctx context.Context, name string) (Alias, error)
	MoveAlias(ctx context.Context, name string, version Digest, generation int64, actor, reason string) (Alias, error)
	// RollBackAlias is MoveAlias for a move that undoes one: the log says so.
	RollBackAlias(ctx context.Context, name string, version Digest, generation int64, actor, reason string) (Alias, error)
	// MoveAliasFor is MoveAlias or RollBackAlias, as the kind of the move says, from
	// the generation before the move's. It is Conflict, too, when the request has
	// moved the alias already.
	MoveAliasFor(ctx context.Context, request Digest, m AliasMove) (Alias, error)
	// AliasMoves lists the log of a name, newest first. AliasMoveAt returns the
	// move that was in effect at a time; NotFound before the first.
	AliasMoves(ctx context.Context, name string, limit int) ([]AliasMove, error)
	AliasMoveAt(ctx context.Context, name string, at time.Time) (AliasMove, error)

	// ClaimRequest records what a client asks for under an idempotency key, both by
	// their digests. The first record of a key wins, and first reports whether this
	// was it. AnswerRequest keeps what the client was told, JSON: the first answer
	// stays and is returned; NotFound for a key that was not claimed.
	ClaimRequest(ctx context.Context, key, asked Digest) (kept Request, first bool, err error)
	AnswerRequest(ctx context.Context, key Digest, answer []byte) (kept []byte, err error)

	// SeeReplica records a heartbeat of a serving process. Replicas lists
	// those seen since; ForgetReplica removes one that has ended.
	SeeReplica(ctx context.Context, r Replica) error
	Replicas(ctx context.Context, since time.Time) ([]Replica, error)
	ForgetReplica(ctx context.Context, id string) error

	Retention

	Ping(ctx context.Context) error
	Close() error
}

// Retention is the part of a Store that deletes what nobody needs any more. What
// takes a time deletes only what is older and what no run has noted as used since.
type Retention interface {
	// NoteUse records, before they are read, that a run uses kept results, by
	// their keys, or blobs: they stay for as long as the run goes on.
	NoteUse(ctx context.Context, runID string, digests ...string) error
	// Uses lists what was noted, ForgetUses deletes what a run noted before then.
	Uses(ctx context.Context) ([]Use, error)
	ForgetUses(ctx context.Context, runID string, before time.Time) error
	// StepResults and Checkpoints list them all.
	StepResults(ctx context.Context) ([]StepResult, error)
	Checkpoints(ctx context.Context) ([]Checkpoint, error)
	// ForgetStepResult and ForgetCheckpoint report whether they deleted one.
	ForgetStepResult(ctx context.Context, key string, before time.Time) (deleted bool, err error)
	ForgetCheckpoint(ctx context.Context, runKey string, before time.Time) (deleted bool, err error)
	// RetireVersion marks a version as one whose files are deleted, and reports
	// whether it did: not one that is pinned, that an alias names, or that was
	// registered since. Its record stays.
	RetireVersion(ctx context.Context, version Digest, before time.Time) (retired bool, err error)
}

// Use says that a run uses a kept result, by its key, or a blob.
type Use struct {
	RunID   string
	Digest  string
	NotedAt time.Time
}

// StepResult is the kept output of a pure step.
type StepResult struct {
	Key       string
	Output    []byte
	CreatedAt time.Time
}

// Checkpoint is a row that says where training can resume.
type Checkpoint struct {
	RunKey  string
	Attempt int64
	// Blob is the checkpoint file.
	Blob Digest
	Step int
	// PreviousBlob is the checkpoint before, for when this one is damaged; empty
	// for none.
	PreviousBlob Digest
	PreviousStep int
	// CreatedAt is set by the store.
	CreatedAt time.Time
}

// RunRecord is what the database keeps of a run; where it stands now comes
// from Temporal.
type RunRecord struct {
	ID        string
	Config    []byte // normalised JSON
	CreatedAt time.Time
	// Actor started the run: "api", "cli", "temporal".
	Actor      string
	State      RunState
	FinishedAt *time.Time
	Result     *RunResult
	Message    string
	// Progress has the run key from the beginning of the training, and all
	// stages once the run has ended; nil before.
	Progress *Progress
}

// Request is what a client has asked for under an idempotency key.
type Request struct {
	// Key is the digest of the client's key, Asked that of what is asked for.
	Key, Asked Digest
	// Moved is the generation to which the request has moved an alias; 0 for none.
	Moved int64
	// Answer is what the client was told, JSON; nil until then.
	Answer []byte
}

// KeyReused is the error about an idempotency key that was used before for
// something else.
func KeyReused() error {
	return &Error{
		Kind: Conflict, Code: "idempotency_key_reused",
		Message: "this idempotency key was used before, for another request: send a new key",
	}
}

// Delivery says how much of a run a tracking server has.
type Delivery struct {
	// Server is its address, without credentials.
	Server string
	RunID  string
	// TrackedRun is the server's name of the run, empty until it has one, and
	// URL the run's page there.
	TrackedRun string
	URL        string
	// RunKey is the training whose metrics are delivered, and Sequence the
	// number of the last one that was.
	RunKey   string
	Sequence int64
	// FinishedAt is the end of the run of which the server has everything; nil
	// until then.
	FinishedAt *time.Time
	// Refused says why the server will not take the run; empty while it does.
	Refused string
}
