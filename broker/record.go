package broker

import (
	"encoding/binary"
	"errors"
	"math"

	"switchboard/wire"
)

// ErrRecord says that bytes are no record of a decision, or one of a later version of the program.
var ErrRecord = errors.New("not a record of a decision of this version")

// The first byte of a record: of one that somebody got, and of an offer that nobody took, which says at its end how that ended.
const (
	recordVersion = 1
	recordUntaken = 2
)

// Bounds of a record that is read: more than is ever written.
const (
	maxRecordText = 512
	maxRecordList = 64
)

// Bits of a candidate.
const candidatePreferred = 1

// AppendDecision appends d in some 60 bytes and 30 for each of its candidates: what stays of it with its session. Levels, loads and
// scores keep seven digits.
func AppendDecision(dst []byte, d *Decision) []byte {
	if d.Ended == "" {
		dst = append(dst, recordVersion)
	} else {
		dst = append(dst, recordUntaken)
	}
	dst = binary.AppendVarint(dst, d.At)
	dst = appendText(dst, string(d.Session))
	dst = binary.AppendUvarint(dst, d.Ticket)
	for _, s := range [...]string{d.Queue, d.Worker, d.Reason, d.Step} {
		dst = appendText(dst, s)
	}
	dst = binary.AppendVarint(dst, d.WaitedMS)
	for _, n := range [...]int{d.Ahead, d.Eligible, d.Free, d.Asked, len(d.Excluded)} {
		dst = binary.AppendUvarint(dst, uint64(max(n, 0))) //nolint:gosec // not negative
	}
	for _, s := range d.Excluded {
		dst = appendText(dst, s)
	}
	dst = binary.AppendUvarint(dst, uint64(len(d.Top)))
	for i := range d.Top {
		c := &d.Top[i]
		flags := byte(0)
		if c.Preferred {
			flags |= candidatePreferred
		}
		dst = append(appendText(dst, c.Worker), flags)
		for _, v := range [...]float64{c.Load, c.Skill, c.Rating, c.Score} {
			dst = binary.LittleEndian.AppendUint32(dst, math.Float32bits(float32(v)))
		}
	}
	if d.Ended != "" {
		dst = appendText(dst, d.Ended)
	}
	return dst
}

// ParseDecision reads what AppendDecision wrote into d, which takes nothing of b. It fails with [ErrRecord].
func ParseDecision(b []byte, d *Decision) error {
	r := record{b: b}
	*d = Decision{}
	v := r.next(1)
	if v == nil || v[0] != recordVersion && v[0] != recordUntaken {
		return ErrRecord
	}
	d.At = r.int()
	d.Session = wire.SessionID(r.text())
	d.Ticket = r.uint()
	for _, s := range [...]*string{&d.Queue, &d.Worker, &d.Reason, &d.Step} {
		*s = r.text()
	}
	d.WaitedMS = r.int()
	for _, n := range [...]*int{&d.Ahead, &d.Eligible, &d.Free, &d.Asked} {
		*n = int(min(r.uint(), math.MaxInt32)) //nolint:gosec // bounded
	}
	for range r.count() {
		d.Excluded = append(d.Excluded, r.text())
	}
	for range r.count() {
		c := Candidate{Worker: r.text()}
		if f := r.next(1); f != nil {
			c.Preferred = f[0]&candidatePreferred != 0
		}
		for _, v := range [...]*float64{&c.Load, &c.Skill, &c.Rating, &c.Score} {
			if f := r.next(4); f != nil {
				*v = shortened(math.Float32frombits(binary.LittleEndian.Uint32(f)))
			}
		}
		d.Top = append(d.Top, c)
	}
	if v[0] == recordUntaken {
		if d.Ended = r.text(); d.Ended == "" {
			return ErrRecord
		}
	}
	if r.bad || len(r.b) > 0 {
		return ErrRecord
	}
	return nil
}

// shortened returns v as people wrote it, 0.9 and not 0.8999999761581421. What is no number is nought.
func shortened(v float32) float64 {
	f := math.Round(float64(v)*1e6) / 1e6
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return 0
	}
	return f
}

func appendText(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// record reads a record; after the first mistake everything reads as nothing.
type record struct {
	b   []byte
	bad bool
}

func (r *record) next(n int) []byte {
	if r.bad || n > len(r.b) {
		r.bad = true
		return nil
	}
	var v []byte
	v, r.b = r.b[:n], r.b[n:]
	return v
}

func (r *record) uint() uint64 {
	v, n := binary.Uvarint(r.b)
	if r.bad || n <= 0 {
		r.bad = true
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *record) int() int64 {
	v, n := binary.Varint(r.b)
	if r.bad || n <= 0 {
		r.bad = true
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *record) text() string {
	n := r.uint()
	if n > maxRecordText {
		r.bad = true
		return ""
	}
	return string(r.next(int(n))) //nolint:gosec // bounded
}

func (r *record) count() int {
	n := r.uint()
	if n > maxRecordList {
		r.bad = true
		return 0
	}
	return int(n) //nolint:gosec // bounded
}
