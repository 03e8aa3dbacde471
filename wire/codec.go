package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Codec is one of the two encodings of frames [SW-2.1]. The zero value is JSON.
type Codec uint8

// The codecs, by their subprotocols.
const (
	JSON     Codec = iota // switchboard.v1.json, text frames
	Protobuf              // switchboard.v1.pb, binary frames
)

// Subprotocol returns the WebSocket subprotocol of c [SW-2.1].
func (c Codec) Subprotocol() string {
	if c == Protobuf {
		return "switchboard.v1.pb"
	}
	return "switchboard.v1.json"
}

// Subprotocols lists what the server speaks, its favourite first [SW-2.1].
func Subprotocols() []Codec { return []Codec{Protobuf, JSON} }

var (
	// ErrFrame is returned for bytes that are no frame at all; the connection is closed 3501 [SW-2.7].
	ErrFrame = errors.New("not a frame")
	// ErrVerb is returned for a frame whose verb is unknown; the frame's id is set [SW-2.7].
	ErrVerb = errors.New("unknown verb")
	// ErrBody is returned for a sound Protobuf frame with an embedded document that is not one valid JSON value
	// [SW-2.2]. In JSON such a frame cannot be followed at all and is an ErrFrame.
	ErrBody = errors.New("body is not one valid JSON value")
)

// Next cuts the first frame off a message [SW-2.5]. An empty rest means that it was the last. An empty frame
// without error is a blank line between JSON frames; the caller passes over it.
func (c Codec) Next(msg []byte) (frame, rest []byte, err error) {
	if c == JSON {
		frame, rest, _ = bytes.Cut(msg, []byte{'\n'})
		return frame, rest, nil
	}
	n, used := binary.Uvarint(msg)
	if used <= 0 || n > uint64(len(msg)-used) {
		return nil, nil, ErrFrame
	}
	end := used + int(n)
	return msg[used:end], msg[end:], nil
}

// Append appends the frame m, a *wirepb.ClientFrame or *wirepb.ServerFrame, ready to stand in a message, also
// behind others: it writes the line feed or the length that batching wants.
func (c Codec) Append(dst []byte, m proto.Message) ([]byte, error) {
	if c == JSON {
		if len(dst) > 0 {
			dst = append(dst, '\n')
		}
		return appendObject(dst, m.ProtoReflect()), nil
	}
	dst = binary.AppendUvarint(dst, uint64(proto.Size(m)))
	return proto.MarshalOptions{Deterministic: true}.MarshalAppend(dst, m) // maps sorted: equal frames are equal bytes, as in JSON
}

// Parse reads one frame as [Codec.Next] cut it into m, a *wirepb.ClientFrame or *wirepb.ServerFrame. Unknown
// fields are ignored. It fails with [ErrFrame], [ErrVerb] or [ErrBody], wrapped; in the last two cases the
// frame's id is set, so that the refusal finds its request. Nothing in m aliases frame.
func (c Codec) Parse(frame []byte, m proto.Message) error {
	proto.Reset(m)
	if c == JSON {
		return parseFrame(frame, m.ProtoReflect())
	}
	if err := proto.Unmarshal(frame, m); err != nil {
		return fmt.Errorf("%w: %w", ErrFrame, err)
	}
	r := m.ProtoReflect()
	verb := r.WhichOneof(r.Descriptor().Oneofs().Get(0))
	if verb == nil {
		return ErrVerb
	}
	return checkDocuments(r.Get(verb).Message())
}

// checkDocuments validates and strips every embedded document below m [SW-2.2].
func checkDocuments(m protoreflect.Message) error {
	var bad error
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.IsMap():
		case f.IsList() && f.Message() != nil:
			for i := range v.List().Len() {
				bad = errors.Join(bad, checkDocuments(v.List().Get(i).Message()))
			}
		case f.Message() != nil:
			bad = errors.Join(bad, checkDocuments(v.Message()))
		case isDocument(f):
			if err := ValidJSON(v.Bytes()); err != nil {
				bad = fmt.Errorf("%w: %s: %w", ErrBody, f.Name(), err)
				return false
			}
			m.Set(f, protoreflect.ValueOfBytes(AppendBody(nil, v.Bytes())))
		}
		return bad == nil
	})
	return bad
}

func isDocument(f protoreflect.FieldDescriptor) bool { return documents[f] }

// appendObject appends m as a JSON object. Fields stand in the schema's order, zero ones only where the schema
// says so.
func appendObject(dst []byte, m protoreflect.Message) []byte {
	dst = append(dst, '{')
	s := shapes[m.Descriptor()]
	var chosen protoreflect.FieldDescriptor
	if s.oneof != nil {
		chosen = m.WhichOneof(s.oneof)
	}
	first := true
	for i := range s.fields {
		f := &s.fields[i]
		if f.choice && f.FieldDescriptor != chosen || !f.choice && !f.always && !m.Has(f.FieldDescriptor) {
			continue
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = append(dst, f.key...)
		dst = appendField(dst, f.FieldDescriptor, m.Get(f.FieldDescriptor))
	}
	return append(dst, '}')
}

func appendField(dst []byte, f protoreflect.FieldDescriptor, v protoreflect.Value) []byte {
	switch {
	case f.IsMap():
		return appendMap(dst, f, v.Map())
	case f.IsList():
		dst = append(dst, '[')
		for i := range v.List().Len() {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendValue(dst, f, v.List().Get(i))
		}
		return append(dst, ']')
	}
	return appendValue(dst, f, v)
}

func appendValue(dst []byte, f protoreflect.FieldDescriptor, v protoreflect.Value) []byte {
	switch f.Kind() {
	case protoreflect.MessageKind:
		return appendObject(dst, v.Message())
	case protoreflect.StringKind:
		return AppendString(dst, v.String())
	case protoreflect.BytesKind:
		return append(dst, v.Bytes()...)
	case protoreflect.BoolKind:
		return appendBool(dst, v.Bool())
	case protoreflect.DoubleKind:
		return appendFloat(dst, v.Float())
	case protoreflect.Int64Kind:
		return appendInt(dst, v.Int())
	case protoreflect.Uint32Kind, protoreflect.Uint64Kind:
		return appendUint(dst, v.Uint())
	}
	panic("the schema uses a kind without a JSON mapping: " + f.Kind().String())
}

// parseFrame reads a whole frame: an object with an id, one verb, and whatever else, which is ignored.
func parseFrame(frame []byte, m protoreflect.Message) error {
	s := scan{b: frame}
	fields := m.Descriptor().Fields()
	verbs := 0
	err := s.object(func(key []byte) error {
		f := fields.ByName(protoreflect.Name(key))
		switch {
		case f == nil:
			return s.skip(maxDepth)
		case f.ContainingOneof() != nil && s.peek() != 'n':
			verbs++ // a verb that is null is none: null leaves a field unset
		case string(key) == "id" && s.peek() == '0': // [SW-2.3] an id is positive: who counts from 0 shall not wait for an answer
			return errJSON
		}
		return s.field(f, m)
	})
	if err == nil {
		if s.space(); s.i != len(frame) {
			err = errJSON
		}
	}
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", ErrFrame, err)
	case verbs == 0:
		return ErrVerb
	case verbs > 1:
		return fmt.Errorf("%w: it has %d verbs", ErrFrame, verbs)
	}
	return nil
}

// message reads an object into m.
func (s *scan) message(m protoreflect.Message) error {
	fields := m.Descriptor().Fields()
	return s.object(func(key []byte) error {
		f := fields.ByName(protoreflect.Name(key))
		if f == nil {
			return s.skip(maxDepth)
		}
		return s.field(f, m)
	})
}

// field reads one value into field f of m. null leaves the field unset, as Protobuf's own mapping does, but for
// documents, where it is a value.
func (s *scan) field(f protoreflect.FieldDescriptor, m protoreflect.Message) error {
	if !isDocument(f) && s.null() {
		return nil
	}
	switch {
	case f.IsMap():
		return s.mapField(m.Mutable(f).Map())
	case f.IsList():
		list := m.Mutable(f).List()
		return s.array(func() error {
			if f.Message() != nil {
				e := list.NewElement()
				list.Append(e)
				return s.message(e.Message())
			}
			v, err := s.scalar(f)
			if err == nil {
				list.Append(v)
			}
			return err
		})
	case f.Message() != nil:
		return s.message(m.Mutable(f).Message())
	}
	v, err := s.scalar(f)
	if err == nil {
		m.Set(f, v)
	}
	return err
}

func (s *scan) scalar(f protoreflect.FieldDescriptor) (protoreflect.Value, error) {
	var none protoreflect.Value
	switch f.Kind() {
	case protoreflect.StringKind:
		b, err := s.str()
		return protoreflect.ValueOfString(string(b)), err
	case protoreflect.BytesKind:
		b, err := s.raw()
		return protoreflect.ValueOfBytes(AppendBody(nil, b)), err
	case protoreflect.BoolKind:
		b, err := s.bool()
		return protoreflect.ValueOfBool(b), err
	case protoreflect.DoubleKind:
		v, err := s.float()
		return protoreflect.ValueOfFloat64(v), err
	case protoreflect.Int64Kind:
		v, err := s.int()
		return protoreflect.ValueOfInt64(v), err
	case protoreflect.Uint64Kind:
		v, err := s.uint()
		return protoreflect.ValueOfUint64(v), err
	case protoreflect.Uint32Kind:
		v, err := s.uint()
		if err == nil && v > math.MaxUint32 {
			err = errJSON
		}
		return protoreflect.ValueOfUint32(uint32(v)), err
	}
	return none, errJSON
}
