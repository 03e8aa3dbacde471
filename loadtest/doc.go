// Package loadtest drives real sockets against a node and says what it saw: [RoundTrip] measures speed, [Replay] plays
// recorded dialogues and gives a verdict. It knows the broker only by its protocol and its public client, so it cannot
// cheat.
//
// # Replay
//
// Every dialogue is a customer with a connection of his own, at the times of the recording, compressed. Bots and humans
// answer over a few shared connections. A share of the dialogues moves from the bot to a human in the middle, and
// connections of both sides are cut at random moments: between requests, in the middle of one, and when the answer is on
// its way. All of that is decided by one seed, before anything starts. The schedule is open: a message is due when the
// recording says so, whether or not earlier ones were answered, and latency counts from that moment, so that a node that
// stalls is charged for all who had to wait. Workers answer at once: what is measured is the broker.
//
// In the end everything that each side received, and the history, is compared with what was sent: byte for byte, in order,
// exactly once. The customer must have heard every answer; the owners of a session together (what they were shown at the
// assignment, and what was delivered) every word of the customer; nothing else may be there. What does not hold is a
// [Fault] with the dialogue and the turn.
//
// A message carries, beside its text, which dialogue and turn it is. A worker finds the answer by that, and knows nothing
// of who else has served the session: when a message comes again, it asks the history what was answered.
//
// # Own dialogues
//
// dialogues.jsonl holds one JSON object a line:
//
//	{"id":"en-order","lang":"en","turns":[{"from":"customer","t":0,"text":"Where is my order?"},{"from":"agent","t":9,"text":"…"}]}
//
// id names the dialogue, from is customer or agent, t the time in seconds from any beginning (left out, it is made up),
// text any Unicode string up to 24 KiB. Fields of other names are ignored. A dialogue may begin with either side, and
// either may say several things in a row.
package loadtest
