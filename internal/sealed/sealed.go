// Package sealed gives a small JSON object on a disk a checksum of itself, so that a bit that turns is an error and not another meaning.
//
// The checksum is in the object's field sum. It is of what the object says, not of how it is laid out: spaces and the order of fields do not count, so it stays
// readable, and whoever changes it by hand removes the field. An object without one is from before there were checksums, or from such a hand. Nothing
// here touches a file: writing it whole or not at all is its owner's.
package sealed

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
)

// Field is the name of the field with the checksum.
const Field = "sum"

// ErrDamaged is what [Check] says of an object that is not what was written.
var ErrDamaged = errors.New("its checksum is wrong")

var table = crc32.MakeTable(crc32.Castagnoli)

// Sum returns the checksum of an object without the fields that are apart, which may have one of their own, and without its field sum. Any bit
// that turns changes it, in values and in names, but for bits between them.
func Sum(doc []byte, apart ...string) (string, error) {
	fields, err := read(doc)
	if err != nil {
		return "", err
	}
	return sum(fields, apart)
}

func sum(fields map[string]json.RawMessage, apart []string) (string, error) {
	counted := make(map[string]json.RawMessage, len(fields))
	for name, raw := range fields {
		if name != Field && !slices.Contains(apart, name) {
			counted[name] = raw
		}
	}
	b, err := json.Marshal(counted) // compact, in order
	return fmt.Sprintf("%08x", crc32.Checksum(b, table)), err
}

// read returns the fields of an object. The names are as they are written: encoding/json, which reads Sum as sum, is not as strict.
func read(doc []byte) (map[string]json.RawMessage, error) {
	fields := map[string]json.RawMessage{}
	if err := json.Unmarshal(doc, &fields); err != nil {
		return nil, err
	}
	if fields == nil { // the word null is JSON, and nobody's to fill in
		return nil, errors.New("it holds null")
	}
	return fields, nil
}

// Check reports whether an object has a checksum, and says [ErrDamaged] when that is wrong. Fields are all those that an object without
// one may have: it would be the checksum's own name in which a bit has turned, otherwise.
func Check(doc []byte, fields []string, apart ...string) (has bool, err error) {
	have, err := read(doc)
	if err != nil {
		return false, err
	}
	raw, has := have[Field]
	if !has {
		for name := range have {
			if !slices.Contains(fields, name) {
				return false, fmt.Errorf("%w: it has a field %q, and no checksum", ErrDamaged, name)
			}
		}
		return false, nil
	}
	want, err := sum(have, apart)
	if err != nil {
		return true, err
	}
	var said string
	if err := json.Unmarshal(raw, &said); err != nil || said != want {
		return true, ErrDamaged
	}
	return true, nil
}

// Seal returns an object with its checksum in front of the other fields, of which there is at least one. It must not have one yet. What is
// written is otherwise as it was.
func Seal(doc []byte, apart ...string) ([]byte, error) {
	fields, err := read(doc)
	if err != nil {
		return nil, err
	}
	if _, has := fields[Field]; has || len(fields) == 0 {
		return nil, errors.New("an object with a checksum, or with nothing, cannot be given one")
	}
	s, err := sum(fields, apart)
	if err != nil {
		return nil, err
	}
	_, rest, _ := bytes.Cut(doc, []byte("{"))
	head, tight := "{\n  \"%s\": \"%s\",", !bytes.HasPrefix(bytes.TrimLeft(rest, " \t"), []byte("\n"))
	if tight { // it is all in one line
		head = "{\"%s\":\"%s\","
	}
	return append(fmt.Appendf(nil, head, Field, s), rest...), nil
}
