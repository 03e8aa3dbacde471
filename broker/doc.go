// Package broker is the routing core: who waits, who works, and who gets whom.
//
// A [Core] is one pool, by default one tenant: its queues and workers. It is a plain struct driven by events, and pure: the
// time is an argument, ids are handed in, and everything that is to be done comes back as [Effects]. It has no clock,
// goroutine, lock, channel, file or logger. The same events give the same effects.
//
// The pool is soft. What it knows is gone with its memory; a new one, under a higher number, asks all shards for their live
// tasks ([Core.Open], [Core.CensusAnswer]) and goes on. The sessions' word is the authority, and durable; the pool alone
// grants capacity.
//
// Pool and sessions tell each other levels, not events. A session has a ticket that grows at every queueing. [Core.Offer]
// says that it waits; a [Grant] answers, and comes again every second until [Core.Confirm] (it is durable: the session is
// held), [Core.Refuse] or [Core.Withdraw]. [Core.Release] gives the worker back. Whatever comes twice or late changes nothing.
// Once a minute a held session is sent its grant again, so that a release that was lost on its way is noticed.
//
// Workers: [Core.Subscribe], [Core.Presence], [Core.Slots], [Core.Accept], [Core.Decline], [Core.ConnLost]. A bot has a session
// at once, a human is asked first; both use a slot from then on.
//
// Who may serve whom is data: a queue's route has steps with selectors ([switchboard/broker/selector]), a worker has
// attributes and teams, a task has a cost by its channel, queues and shops have shares. The document that operators write is
// package routes. [Core.Configure] applies another one to a running pool, [Core.Reconfigure] in pieces.
//
// It promises, after every event (the numbers are DESIGN.md's):
//   - I1 nobody waits whom a worker could take now;
//   - I3 no worker is given more than its slots: offers, grants, assignments and wrap-up together;
//   - I4, I5 tasks of one requirement are served in their order, and overtaken within their boost only;
//   - I6 an offer ends once, and the same word about it gets the same answer;
//   - I7 whatever is not final has a timer, or somebody whose word it waits for and who repeats it;
//   - I10 how long somebody has waited survives whatever happens to offers.
//
// It does not know what a conversation is, allocates no ae, and sends no mail.
package broker
