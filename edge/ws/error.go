package ws

// Error is what a peer did wrong. It is a constant, so errors.Is and == both work; all of them end the connection, and
// Code is what to close it with. The zero Error is none, and is never returned as an error.
type Error uint8

// What can be wrong with a frame, in the order in which its bytes show it.
const (
	ErrReserved          Error = iota + 1 // a reserved bit is set, and no extension was negotiated
	ErrOpcode                             // the opcode is reserved
	ErrControlFragmented                  // a control frame without FIN
	ErrContinuation                       // a continuation, and no message to continue
	ErrInterleaved                        // a new data message inside a fragmented one
	ErrFragments                          // more than MaxFragments frames in a message
	ErrMask                               // a client's frame is not masked, or a server's is
	ErrControlLength                      // a control frame above MaxControl bytes
	ErrLength                             // a length that is not in its shortest form, or has its top bit set
	ErrTooBig                             // the message is above the limit
	ErrText                               // a text message is not UTF-8
	ErrCloseLength                        // a close frame with half a code
	ErrCloseCode                          // a close code that must not be sent
	ErrCloseReason                        // a close reason that is not UTF-8
)

var faults = [...]struct {
	code uint16
	text string
}{
	0:                    {CodeNormal, "no error"},
	ErrReserved:          {CodeProtocol, "reserved bit set"},
	ErrOpcode:            {CodeProtocol, "reserved opcode"},
	ErrControlFragmented: {CodeProtocol, "fragmented control frame"},
	ErrContinuation:      {CodeProtocol, "nothing to continue"},
	ErrInterleaved:       {CodeProtocol, "message inside a fragmented message"},
	ErrFragments:         {CodeTooBig, "too many fragments"},
	ErrMask:              {CodeProtocol, "wrong masking"},
	ErrControlLength:     {CodeProtocol, "control frame too long"},
	ErrLength:            {CodeProtocol, "malformed length"},
	ErrTooBig:            {CodeTooBig, "message too large"},
	ErrText:              {CodeInvalid, "text is not UTF-8"},
	ErrCloseLength:       {CodeProtocol, "close payload of one byte"},
	ErrCloseCode:         {CodeProtocol, "invalid close code"},
	ErrCloseReason:       {CodeInvalid, "close reason is not UTF-8"},
}

// Error returns a few words, short enough for the reason of a close frame.
func (e Error) Error() string { return faults[e].text }

// Code returns the close code to answer with: CodeProtocol, CodeInvalid or CodeTooBig.
func (e Error) Code() uint16 { return faults[e].code }
