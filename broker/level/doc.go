// Package level counts how fast customers are answered: service levels, as definitions that are data.
//
// A "reply rate within three minutes" has no single meaning. One platform counts turns, another messages, a third the customers
// of a day; one lets an answer that an assistant drafted count, none that of a bot alone; one charges a transfer without a
// reply to who transferred. So a [Definition] says which clock runs, when it starts and stops, whose answer stops it, what is
// one case, which hours count and what is too late. [Presets] are the definitions of platforms, a few lines each.
//
// [Compile] makes a [Set] of definitions. A [Conversation] is the evaluator of one session: [Conversation.Feed] takes its
// entries in order, as they stand in the log, and [Conversation.Tick] tells it that time has passed. What comes of it goes to an [Out]:
// samples, which are counted, and actions, which are to be done. What a session does not know of an entry it does not need:
// the same evaluator counts live, and again from a recorded log, and both come to the same numbers.
//
// [Rates] are sliding windows of samples by shop, queue, team and worker, in memory that does not grow; windows of several
// shards add up ([Report]). A [Tally] counts a recorded log exactly, over any time.
//
// The package is pure: the time is an argument, zones are handed in. Nothing here is safe for concurrent use but a Set, which
// never changes.
//
// Counting. A case is opened by the customer's word (or by the queue, or by the assignment, as the clock says) and settled once:
//   - in time, when the answer comes at the limit or before;
//   - missed, as soon as the limit is over; the answer that still comes adds its time to the mean, and nothing to the rate;
//   - not counted, when a bot alone has dealt with it and the definition leaves bots out.
//
// While a bot has the session and its definition leaves bots out, its clock is held: it fires neither warning nor miss. When the
// bot hands over it goes on from the customer's word, so the human inherits the wait, or begins anew, as handover says.
//
// Limits: [MaxDefinitions] definitions; [maxMarks] open messages of one conversation, of which further ones are counted with the
// last; times are Unix milliseconds of the session's owner and grow with the entries.
package level
