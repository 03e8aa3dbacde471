package ws

import "unicode/utf8"

// Decoder takes messages off the front of a connection's bytes. The zero Decoder reads a client's frames and is ready.
// It belongs to one reader at a time, and must not be copied once Next was called.
type Decoder struct {
	// FromServer tells that the frames come from a server and must not be masked. Set it before the first Next.
	FromServer bool

	fault  Error    // what ended the connection; Next repeats it
	closed bool     // a close frame was read; what follows is swallowed
	part   *partial // the fragmented message at hand; nil between messages
}

// partial is a message of which some fragments are still to come.
type partial struct {
	payload []byte
	checked int // leading bytes that are known to be UTF-8
	frames  int
	op      Opcode
}

// Next takes the next message off the front of buf, which begins where the last call stopped consuming. It returns the
// message and how many bytes to drop from the front of buf; bytes can be consumed without a message (fragments).
// When buf holds no further whole message, the message is the zero one and err is nil: the caller keeps the rest,
// appends what it reads next and calls again.
//
// A message of more than limit payload bytes, fragments together, is refused with ErrTooBig from its header.
// Control frames do not count. A limit below zero is zero. The limit may differ from call to call.
//
// Consumed bytes may have been changed (unmasked). An err is always an Error; the frame that caused it is not
// consumed, and every further call returns the same. After a message OpClose everything is consumed and ignored.
func (d *Decoder) Next(buf []byte, limit int) (m Message, consumed int, err error) {
	if d.fault != 0 {
		return Message{}, 0, d.fault
	}
	if d.closed {
		return Message{}, len(buf), nil // [RFC 6455 5.5.1] nothing counts after a close
	}
	for {
		rest := buf[consumed:]
		h, fault := d.header(rest, limit)
		if fault != 0 {
			return Message{}, consumed, d.fail(fault)
		}
		if h.size == 0 || len(rest)-h.size < h.n {
			return Message{}, consumed, nil
		}
		end := h.size + h.n
		payload := rest[h.size:end:end]
		if !d.FromServer {
			mask(payload, h.key)
		}
		if m, fault = d.take(h, payload, limit); fault != 0 {
			return Message{}, consumed, d.fail(fault)
		}
		consumed += end
		if m.Op != 0 {
			return m, consumed, nil
		}
	}
}

// take turns a whole frame into a message, or keeps it when it is not the last of one.
func (d *Decoder) take(h header, payload []byte, limit int) (Message, Error) {
	switch {
	case h.op == OpClose:
		if fault := checkClose(payload); fault != 0 {
			return Message{}, fault
		}
		d.closed, d.part = true, nil
	case h.op.Control():
	case d.part != nil || !h.fin:
		return d.join(h, payload, limit)
	case h.op == OpText && !utf8.Valid(payload):
		return Message{}, ErrText // [RFC 6455 8.1]
	}
	return Message{Op: h.op, Payload: payload}, 0
}

// join appends a fragment, and returns the message when it was the last.
func (d *Decoder) join(h header, payload []byte, limit int) (Message, Error) {
	p := d.part
	if p == nil {
		p = &partial{op: h.op}
		d.part = p
	}
	p.frames++
	p.add(payload, limit)
	if p.op == OpText && !p.check(h.fin) {
		return Message{}, ErrText
	}
	if !h.fin {
		return Message{}, 0
	}
	d.part = nil
	return Message{Op: p.op, Payload: p.payload}, 0
}

// add appends a fragment. The buffer doubles, but not beyond the limit, which is all that the message can ever take.
func (p *partial) add(payload []byte, limit int) {
	if need := len(p.payload) + len(payload); need > cap(p.payload) {
		grown := make([]byte, len(p.payload), max(need, min(2*cap(p.payload), limit)))
		copy(grown, p.payload)
		p.payload = grown
	}
	p.payload = append(p.payload, payload...)
}

// check tells whether the text so far is UTF-8 or, unless it is the last fragment, the beginning of some. Every byte is
// looked at once, but for the up to three of a character that a fragment has cut.
func (p *partial) check(last bool) bool {
	text := p.payload[p.checked:]
	if !last {
		text = text[:whole(text)]
	}
	p.checked += len(text)
	return utf8.Valid(text)
}

// whole returns the length of text without a character at its end that more bytes may complete. An encoding that none
// can complete counts as whole, for utf8.Valid to refuse.
func whole(text []byte) int {
	for i := len(text) - 1; i >= max(0, len(text)-(utf8.UTFMax-1)); i-- {
		if utf8.RuneStart(text[i]) {
			if !utf8.FullRune(text[i:]) {
				return i
			}
			break
		}
	}
	return len(text)
}

// fail ends the decoder, and lets go of what it held.
func (d *Decoder) fail(fault Error) error {
	d.fault, d.part = fault, nil
	return fault
}

// Held returns how many bytes the decoder holds for a message whose fragments are still coming: zero between messages,
// and never above the largest limit that Next was given.
func (d *Decoder) Held() int {
	if d.part == nil {
		return 0
	}
	return cap(d.part.payload)
}
