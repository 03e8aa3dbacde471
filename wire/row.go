package wire

import (
	"encoding/binary"
	"errors"
	"unsafe"
)

// ErrEntry says that bytes are not an entry of AppendEntry, or one of a newer version.
var ErrEntry = errors.New("the entry is damaged or of a newer version")

const entryVersion = 1

// The words that most entries are made of, by the number that stands for them in a row; 0 means that the word itself
// follows. Their order never changes: it is part of the data directory's format.
var (
	rowRoles   = [...]string{1: "", string(RoleCustomer), string(RoleWorker), string(RoleSupervisor), string(RoleOperator), string(RoleService), string(RoleSystem)}
	rowOrigins = [...]string{1: "", string(OriginCustomer), string(OriginHuman), string(OriginBot), string(OriginAssist), string(OriginSystem)}
	rowKinds   = [...]string{1: KindMessage, KindEvent}
	rowSights  = [...]string{1: Public, Staff}
	rowTypes   = [...]string{
		1: "text", "interrupted", "session.opened", "session.queued", "session.assigned", "session.transferred",
		"session.transfer_failed", "worker.lost", "session.released", "session.dead_lettered", "session.closed",
		"session.reopened", "session.rated", "channel.attached",
	}
	rowChannels = [...]string{1: "", "web", "app", "wechat", "email"}
)

// AppendEntry appends e as it stands in the log, without its session, which is part of its key. It does not allocate
// when dst has room.
func AppendEntry(dst []byte, e *Entry) []byte {
	dst = append(dst, entryVersion)
	dst = binary.AppendUvarint(dst, e.Seq)
	dst = binary.AppendUvarint(dst, e.Epoch)
	dst = binary.AppendVarint(dst, e.TS)
	dst = appendWord(dst, rowRoles[:], string(e.From.Role))
	dst = appendText(dst, e.From.ID)
	dst = appendText(dst, e.From.Name)
	dst = appendWord(dst, rowOrigins[:], string(e.Origin))
	dst = appendWord(dst, rowKinds[:], e.Kind)
	dst = appendWord(dst, rowTypes[:], e.Type)
	dst = appendWord(dst, rowSights[:], e.Visibility)
	dst = appendWord(dst, rowChannels[:], e.Channel)
	dst = binary.AppendUvarint(dst, e.ReplyTo)
	dst = appendText(dst, e.Stream)
	dst = binary.AppendUvarint(dst, uint64(len(e.Body)))
	return append(dst, e.Body...)
}

func appendText(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

func appendWord(dst []byte, words []string, s string) []byte {
	for i := 1; i < len(words); i++ {
		if words[i] == s {
			return append(dst, byte(i))
		}
	}
	return appendText(append(dst, 0), s)
}

// ParseEntry reads what AppendEntry wrote into e, whose session it leaves alone. e's strings and body alias b, which must
// not change any more. It fails with [ErrEntry]; e then holds nothing of use.
func ParseEntry(b []byte, e *Entry) error {
	r := rowReader{b: b}
	if r.byte() != entryVersion {
		return ErrEntry
	}
	e.Seq, e.Epoch, e.TS = r.uint(), r.uint(), r.int()
	e.From.Role = Role(r.word(rowRoles[:]))
	e.From.ID, e.From.Name = r.text(), r.text()
	e.Origin = Origin(r.word(rowOrigins[:]))
	e.Kind, e.Type = r.word(rowKinds[:]), r.word(rowTypes[:])
	e.Visibility, e.Channel = r.word(rowSights[:]), r.word(rowChannels[:])
	e.ReplyTo, e.Stream = r.uint(), r.text()
	e.Body = r.take()
	if len(e.Body) == 0 {
		e.Body = nil
	}
	if r.bad || len(r.b) > 0 {
		return ErrEntry
	}
	return nil
}

// rowReader takes fields off the front; after the first that does not fit it is bad and reads zeros.
type rowReader struct {
	b   []byte
	bad bool
}

func (r *rowReader) byte() byte {
	if len(r.b) == 0 {
		r.bad = true
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

func (r *rowReader) uint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.b, r.bad = nil, true
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *rowReader) int() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.b, r.bad = nil, true
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *rowReader) take() []byte {
	n := r.uint()
	if n > uint64(len(r.b)) {
		r.b, r.bad = nil, true
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

func (r *rowReader) text() string {
	v := r.take()
	return unsafe.String(unsafe.SliceData(v), len(v))
}

func (r *rowReader) word(words []string) string {
	i := r.byte()
	if i == 0 {
		return r.text()
	}
	if int(i) >= len(words) {
		r.bad = true
		return ""
	}
	return words[i]
}
