package wire

import (
	"math"
	"slices"
	"strconv"

	"google.golang.org/protobuf/reflect/protoreflect"
)

func appendBool(dst []byte, v bool) []byte   { return strconv.AppendBool(dst, v) }
func appendInt(dst []byte, v int64) []byte   { return strconv.AppendInt(dst, v, 10) }
func appendUint(dst []byte, v uint64) []byte { return strconv.AppendUint(dst, v, 10) }
func appendFloat(dst []byte, v float64) []byte {
	return strconv.AppendFloat(dst, finite(v), 'g', -1, 64)
}

// finite replaces what JSON has no number for by 0.
func finite(v float64) float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return 0
	}
	return v
}

// appendMap appends a map with its keys sorted, so that equal frames are equal bytes.
func appendMap(dst []byte, f protoreflect.FieldDescriptor, m protoreflect.Map) []byte {
	keys := make([]string, 0, m.Len())
	m.Range(func(k protoreflect.MapKey, _ protoreflect.Value) bool {
		keys = append(keys, k.String())
		return true
	})
	slices.Sort(keys)
	dst = append(dst, '{')
	for i, k := range keys {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(AppendString(dst, k), ':')
		dst = appendValue(dst, f.MapValue(), m.Get(protoreflect.ValueOfString(k).MapKey()))
	}
	return append(dst, '}')
}

// mapField reads an object of numbers; the schema has no other maps.
func (s *scan) mapField(m protoreflect.Map) error {
	return s.object(func(key []byte) error {
		k := string(key)
		v, err := s.float()
		if err == nil {
			m.Set(protoreflect.ValueOfString(k).MapKey(), protoreflect.ValueOfFloat64(v))
		}
		return err
	})
}

func (s *scan) float() (float64, error) {
	n, err := s.num()
	if err != nil {
		return 0, err
	}
	v, err := strconv.ParseFloat(string(n), 64)
	if err != nil {
		return 0, errJSON
	}
	return v, nil
}
