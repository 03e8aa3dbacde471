package sim_test

// regressions are seeds that have failed once, and what they found. They are run with those that are asked for.
var regressions = map[string][]uint64{"TestCluster": {
	9,      // a node is cut off while its worker is given a session: he never heard of it, and nobody else did
	920001, // the same, when the way of the word was lost: he was told only where he was bound already, which was passed over
	22,     // two pieces of mail wait for a shard that is away: alarms doubled every 50 ms until their shard did nothing else
}, "TestBrief": {
	6028,  // a bot that was killed silently takes its work over: deliveries overtook the answer that says what it has, and were nobody's
	31837, // a clock is set back: nobody of its node could say a word until it was where it had been, as all had said too many
	30948, // a connection between nodes breaks: a delivery that was lost came behind the next one
	30141, // a node that was cut off tells of a subscription whose client is elsewhere by now: he heard that he was taken over, and ended
	5,     // a person who answers, acknowledges and releases word by word what was said before was kept from the session for 30 s after each
	37,    // a person is given what is answered already and keeps it for ever: a mistake of the test's, in what people do
}}
