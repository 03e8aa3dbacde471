// Package whatif plays a day of a contact centre in virtual time, with the very core that routes in production: package broker,
// driven by a heap of events and no clock. A day of 200,000 sessions takes seconds.
//
// A [Day] says what is to come: how many sessions when, of which shops, how long people talk, wait and think, how many
// are dealt with by bots, who works from when to when. [Parse] reads one, strictly. Or the day is a recorded one: [Recorder]
// makes visits of the entries of a log. How sessions find somebody is said by a tenant's own document (package routes), so
// what is simulated is what runs.
//
// [New] makes a [Sim] of a [Config], [Sim.Run] plays it to its end and returns a [Result]: by hour, shop, tier, channel and queue how
// many were answered and how fast, what the platforms' definitions count (package level), and how busy the people were.
// [Staff] finds the least staff with which each hour meets a target, and shows the cliff beside it.
//
// A simulation is a value of its configuration: the same seed gives the same day, to the last offer. What happens to a customer
// is drawn by his number alone (how long he talks, when he loses patience), so two policies meet the same people.
//
// Who plays what: the core is the real one. Sessions are played by this package as package session would decide (tickets, hand-off,
// loss, transfer), without a log and without its delays: what takes a millisecond there takes none here. People accept
// after a time, miss offers, take breaks; they answer at the pace that they were given, however many others they have. Bots answer.
//
// It does no I/O, has no clock and starts no goroutine. A Sim has one owner.
package whatif
