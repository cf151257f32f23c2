package captioner

import (
	"bytes"
	"encoding/json"
)

// MoveRecord is a row of the deployment log as it is written down: a blob, whose
// digest the next record names. From the newest one the whole log can be read, and
// nothing in it can change without the digests after it telling.
type MoveRecord struct {
	Move AliasMove `json:"alias_move"`
	// Before is the digest of the record of the move before, empty for the first.
	Before Digest `json:"before"`
}

// recordStart begins every record, and nothing else.
const recordStart = `{"alias_move":{`

// maxRecord bounds what is read as a record, in bytes; the reason is the only part
// that a person writes.
const maxRecord = 64 << 10

// IsRecordSize reports whether a blob of that many bytes may be a record.
func IsRecordSize(n int64) bool { return n <= maxRecord }

// Encode returns the record's bytes.
func (r MoveRecord) Encode() ([]byte, error) {
	r.Move.MovedAt = r.Move.MovedAt.UTC()
	data, err := json.Marshal(r)
	if err != nil {
		return nil, Wrap(Internal, err, "encode a row of the deployment log")
	}
	return data, nil
}

// ParseMoveRecord reads the bytes of a record; ok is false for any others.
func ParseMoveRecord(data []byte) (r MoveRecord, ok bool) {
	if !bytes.HasPrefix(data, []byte(recordStart)) || json.Unmarshal(data, &r) != nil {
		return MoveRecord{}, false
	}
	again, err := r.Encode()
	return r, err == nil && bytes.Equal(again, data)
}

// ChainMoves returns the records of a log, oldest first, with their digests.
func ChainMoves(moves []AliasMove) (records []MoveRecord, digests []Digest, err error) {
	before := Digest("")
	for _, m := range moves {
		r := MoveRecord{Move: m, Before: before}
		data, err := r.Encode()
		if err != nil {
			return nil, nil, err
		}
		before = DigestOf(data)
		records, digests = append(records, r), append(digests, before)
	}
	return records, digests, nil
}
