package ws

import (
	"encoding/binary"
	"unicode/utf8"
)

// Opcode is the kind of a frame, and of the message that begins with it [RFC 6455 5.2].
type Opcode uint8

// The opcodes of RFC 6455 11.8. All others are reserved, and refused.
const (
	OpContinuation Opcode = 0x0 // never the kind of a message
	OpText         Opcode = 0x1 // UTF-8
	OpBinary       Opcode = 0x2
	OpClose        Opcode = 0x8
	OpPing         Opcode = 0x9 // to be answered by a pong with the same payload
	OpPong         Opcode = 0xA
)

// Control tells whether o is a control opcode: its frames are never fragmented and carry at most MaxControl bytes.
func (o Opcode) Control() bool { return o&0x8 != 0 }

// known tells whether o is one of the six opcodes that the protocol defines.
func (o Opcode) known() bool { return o <= OpBinary || (o >= OpClose && o <= OpPong) }

// String returns the opcode's name, or "reserved".
func (o Opcode) String() string {
	switch o {
	case OpContinuation:
		return "continuation"
	case OpText:
		return "text"
	case OpBinary:
		return "binary"
	case OpClose:
		return "close"
	case OpPing:
		return "ping"
	case OpPong:
		return "pong"
	}
	return "reserved"
}

// Bounds that the caller does not set.
const (
	MaxHeader    = 14   // bytes of the longest frame header: 2, a 64-bit length, a masking key
	MaxControl   = 125  // payload bytes of a control frame [RFC 6455 5.5]
	MaxFragments = 1024 // frames of one message; more are refused with ErrFragments
)

// The close codes of RFC 6455 7.4.1 that this package answers with or names. Those of Switchboard begin at 3000.
const (
	CodeNormal   = 1000
	CodeAway     = 1001
	CodeProtocol = 1002 // a frame broke the protocol
	CodeNoStatus = 1005 // stands for a close frame without a code; never on the wire
	CodeAbnormal = 1006 // stands for a connection that ended without a close frame; never on the wire
	CodeInvalid  = 1007 // text or a close reason was not UTF-8
	CodeTooBig   = 1009 // a message was above the limit
)

// ValidCode tells whether a close frame may carry code: those of RFC 6455 7.4.1 and of its IANA registry that are not
// reserved for local use, and the ranges 3000–3999 (registered, ours among them) and 4000–4999 (private).
func ValidCode(code uint16) bool {
	switch {
	case code >= 3000:
		return code < 5000
	case code >= 1007:
		return code <= 1014 // 1012 to 1014 came after the RFC; 1015 is for local use
	}
	return code >= 1000 && code <= 1003 // 1004 to 1006 are reserved
}

// Message is a whole data message, or one control frame. The zero Message means that there is none yet.
type Message struct {
	// Op is OpText, OpBinary, OpClose, OpPing or OpPong; zero when there is no message.
	Op Opcode

	// Payload is unmasked, and for OpText valid UTF-8. It may point into the buffer that was given to Next, and then
	// lives as long as the caller leaves those bytes alone. The caller may change it.
	Payload []byte
}

// Closing returns the code and the reason of a close message: CodeNoStatus and nothing when it carries none.
// The reason is UTF-8, at most 123 bytes, and lives as long as the payload. Of another message it makes no sense.
func (m Message) Closing() (code uint16, reason []byte) {
	if len(m.Payload) < 2 {
		return CodeNoStatus, nil
	}
	return binary.BigEndian.Uint16(m.Payload), m.Payload[2:]
}

// checkClose tells what is wrong with the payload of a close frame [RFC 6455 5.5.1, 7.4].
func checkClose(payload []byte) Error {
	switch {
	case len(payload) == 0:
		return 0
	case len(payload) == 1:
		return ErrCloseLength
	case !ValidCode(binary.BigEndian.Uint16(payload)):
		return ErrCloseCode
	case !utf8.Valid(payload[2:]):
		return ErrCloseReason
	}
	return 0
}
