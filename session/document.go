package session

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"strconv"

	"switchboard/wire"
)

// object returns {"key":"value",…} of the pairs whose value is not empty.
func object(pairs ...string) []byte {
	var b []byte
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			b = objectString(b, pairs[i], pairs[i+1])
		}
	}
	if b == nil {
		return []byte("{}")
	}
	return b
}

// member opens a place for key in the object b, which may be nil.
func member(b []byte, key string) []byte {
	if len(b) == 0 {
		b = append(b, '{')
	} else {
		b[len(b)-1] = ','
	}
	b = wire.AppendString(b, key)
	return append(b, ':')
}

func objectString(b []byte, key, value string) []byte {
	return append(wire.AppendString(member(b, key), value), '}')
}

func objectNum(b []byte, key string, value uint64) []byte {
	return append(strconv.AppendUint(member(b, key), value, 10), '}')
}

// objectRaw adds a value that is JSON already.
func objectRaw(b []byte, key string, value []byte) []byte {
	return append(append(member(b, key), value...), '}')
}

func objectStrings(b []byte, key string, values []string) []byte {
	b = append(member(b, key), '[')
	for i, v := range values {
		if i > 0 {
			b = append(b, ',')
		}
		b = wire.AppendString(b, v)
	}
	return append(b, ']', '}')
}

// merge applies patch to doc as RFC 7396 says: null removes, objects merge, everything else replaces. Numbers keep their
// digits. Members come out in the order of their names.
func merge(doc, patch []byte) ([]byte, error) {
	p, err := value(patch)
	if err != nil {
		return nil, fmt.Errorf("reading the patch: %w", err)
	}
	var d any
	if len(doc) > 0 {
		if d, err = value(doc); err != nil {
			return nil, fmt.Errorf("reading the document: %w", err)
		}
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(mergeValue(d, p)); err != nil {
		return nil, fmt.Errorf("writing the document: %w", err)
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}

var errTrailing = errors.New("more than one JSON value")

// value reads the one JSON value in b.
func value(b []byte) (v any, err error) {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber() // a float64 would lose digits of large ids
	if err := dec.Decode(&v); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errTrailing
	}
	return v, nil
}

func mergeValue(d, p any) any {
	patch, ok := p.(map[string]any)
	if !ok {
		return p
	}
	doc, ok := d.(map[string]any)
	if !ok {
		doc = map[string]any{}
	}
	out := maps.Clone(doc)
	for k, v := range patch {
		if v == nil {
			delete(out, k)
			continue
		}
		out[k] = mergeValue(out[k], v)
	}
	return out
}
