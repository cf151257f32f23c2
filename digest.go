package captioner

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
)

// Digest is a SHA-256 sum in lower-case hexadecimal, 64 characters. Blobs,
// data sets, configurations and model versions are named by theirs.
type Digest string

// ShortDigestLength is how many characters of a digest a person is shown.
const ShortDigestLength = 12

// DigestOf returns the digest of data.
func DigestOf(data []byte) Digest {
	sum := sha256.Sum256(data)
	return Digest(hex.EncodeToString(sum[:]))
}

// DigestReader reads r to its end and returns the digest and the size in bytes.
func DigestReader(r io.Reader) (Digest, int64, error) {
	h := sha256.New()
	n, err := io.Copy(h, r)
	if err != nil {
		return "", n, err
	}
	return Digest(hex.EncodeToString(h.Sum(nil))), n, nil
}

// DigestJSON returns the digest of the canonical JSON of v: encoding/json's,
// whose struct fields come in order and whose map keys are sorted.
func DigestJSON(v any) (Digest, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("digest of a %T: %w", v, err)
	}
	return DigestOf(data), nil
}

// Essential returns a configuration, or a section of one, as digests and
// bundles see it: a struct without the fields tagged digest:"omitdefault" whose
// value is the default's. Fields that came after others were digested have that
// tag, so that whoever does not use them keeps the digests of before. The
// default of such a field cannot change any more.
func Essential(section any) any {
	v := reflect.ValueOf(section)
	return essential(v, defaultOf(v.Type(), reflect.ValueOf(DefaultConfig()))).Interface()
}

// defaultOf finds the part of the defaults that has the type; there is one.
func defaultOf(t reflect.Type, defaults reflect.Value) reflect.Value {
	if defaults.Type() == t {
		return defaults
	}
	for i := range defaults.NumField() {
		if defaults.Field(i).Kind() != reflect.Struct {
			continue
		}
		if found := defaultOf(t, defaults.Field(i)); found.IsValid() {
			return found
		}
	}
	return reflect.Value{}
}

func essential(v, defaults reflect.Value) reflect.Value {
	var fields []reflect.StructField
	var values []reflect.Value
	for i := range v.NumField() {
		field, value := v.Type().Field(i), v.Field(i)
		switch {
		case field.Tag.Get("digest") == "omitdefault" && value.Equal(defaults.Field(i)):
			continue
		case value.Kind() == reflect.Struct:
			value = essential(value, defaults.Field(i))
			field.Type = value.Type()
		}
		fields, values = append(fields, reflect.StructField{Name: field.Name, Type: field.Type, Tag: field.Tag}), append(values, value)
	}
	out := reflect.New(reflect.StructOf(fields)).Elem()
	for i, value := range values {
		out.Field(i).Set(value)
	}
	return out
}

// Short returns the first 12 characters, or all of a shorter string.
func (d Digest) Short() string {
	if len(d) < ShortDigestLength {
		return string(d)
	}
	return string(d[:ShortDigestLength])
}

// Valid reports whether d has the form of a digest.
func (d Digest) Valid() bool {
	if len(d) != sha256.Size*2 {
		return false
	}
	for _, c := range []byte(d) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
