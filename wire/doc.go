// Package wire holds the words that the parts of Switchboard say to each other and to the world: ids and slots, positions,
// entries, mail, the errors and close codes of docs/protocol.md, and the two codecs of its frames.
//
// Frames have one schema, switchboard.proto, and two encodings. A [Codec] cuts a message into frames (Next), and reads and
// writes any of them by the schema (Parse, Append). The few that make up nearly all traffic are also read and written by
// hand, without memory: by the server with [Codec.ParseCommand] and [Codec.AppendFrame], by clients with
// [Codec.AppendCommand] and [Codec.ParseFrame]. These say exactly what the generic ones say, which fuzzing holds them to; what
// is unusual they hand over. What they read aliases the bytes that they were given, which must not change any more.
//
// Entries stand in the log as rows, which [AppendEntry] writes and [ParseEntry] reads. testdata/rows.txt pins their bytes:
// they are the data directory's format and never change.
//
// Between nodes mail travels as [AppendEnvelope] writes it and [ParseEnvelope] reads it, in bytes that are nobody's but two
// nodes' of one [LinkVersion]. Each kind of mail lists its fields once, for both directions; principals are sent once and then
// named by their number in a [Roll].
//
// Besides the standard library it imports the Protobuf runtime, and it knows nothing of who speaks: everything here is a
// value. It starts no goroutines and holds no locks. Values are safe to copy and to share; what is not says so.
package wire
