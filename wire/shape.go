package wire

import (
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"switchboard/wire/wirepb"
)

// shape is what the codecs ask of a message of the schema again and again: asking the schema's own options takes longer than
// everything else together.
type shape struct {
	fields []fieldShape
	oneof  protoreflect.OneofDescriptor // nil when it has none
}

type fieldShape struct {
	protoreflect.FieldDescriptor
	key    []byte // "name":
	always bool   // written also when it is zero
	choice bool   // one of oneof
}

// shapes of every message, and documents: the fields that embed JSON. They never change.
var shapes, documents = schema()

func schema() (map[protoreflect.MessageDescriptor]*shape, map[protoreflect.FieldDescriptor]bool) {
	shapes, documents := map[protoreflect.MessageDescriptor]*shape{}, map[protoreflect.FieldDescriptor]bool{}
	messages := wirepb.File_switchboard_proto.Messages()
	for i := range messages.Len() {
		m := messages.Get(i)
		s := &shape{}
		for j := range m.Fields().Len() {
			f := m.Fields().Get(j)
			of := f.ContainingOneof()
			choice := of != nil && !of.IsSynthetic() // an optional field is one of one
			if choice {
				s.oneof = of // the verbs: the schema has no other
			}
			s.fields = append(s.fields, fieldShape{
				FieldDescriptor: f, key: append(AppendString(nil, string(f.Name())), ':'), choice: choice,
				always: of == nil && proto.GetExtension(f.Options(), wirepb.E_Always).(bool),
			})
			if f.Kind() == protoreflect.BytesKind && proto.GetExtension(f.Options(), wirepb.E_Json).(bool) {
				documents[f] = true
			}
		}
		shapes[m] = s
	}
	return shapes, documents
}
