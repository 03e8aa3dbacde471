package mutants

// mutant is a mistake.
type mutant struct {
	name     string // what is wrong, in words
	file     string // from the root of the module
	old, new string
	pkg, run string // who must notice: a folder, and what of its tests
	model    bool   // it draws its histories with rapid
	quick    bool   // it is planted by the plain test
}

var list = []mutant{
	// The log.
	{
		name: "the log is written and not synced", file: "shard/journal/seglog/log.go",
		old: "if err := l.active.f.SyncData(); err != nil {", new: "if err := error(nil); err != nil {",
		pkg: "shard/journal", run: "TestPowerCuts|TestNothingShowsBeforeItsSync",
	},
	{
		name: "every second batch of the log is acknowledged before its sync", file: "shard/journal/seglog/log.go",
		old: "if err := l.active.f.SyncData(); err != nil {", new: "if err := error(nil); l.seq%2 == 0 {\n\t\terr = l.active.f.SyncData()\n\t\t_ = err\n\t} else if err != nil {",
		pkg: "shard/journal", run: "TestPowerCuts|TestNothingShowsBeforeItsSync",
	},
	{
		name: "an owner is told that a turn is durable when it is proposed, and not when a majority has it", file: "shard/journal/commit.go",
		old: "for len(g.flights) > g.landing && g.flights[g.landing].turn <= g.at.turn {", new: "for len(g.flights) > g.landing {",
		pkg: "shard/journal", run: "TestStorm",
	},
	{
		name: "term and vote are not kept", file: "shard/journal/write.go",
		old: "g.meta.term, g.meta.vote, g.newMeta = h.GetTerm(), h.GetVote(), true", new: "g.meta.term, g.meta.vote = h.GetTerm(), h.GetVote()",
		pkg: "shard/journal", run: "TestVoteSurvivesPowerCuts",
	},
	{
		name: "votes and acknowledgements of entries leave before the sync", file: "shard/journal/replica/batch.go",
		old: "a.Sync = len(a.responses) > 0",
		new: "for _, r := range a.responses {\n\t\t\t\tif r.GetTo() != g.self {\n\t\t\t\t\tb.Send = append(b.Send, Message{g.id, r})\n\t\t\t\t}\n\t\t\t}\n\t\t\ta.Sync = len(a.responses) > 0",
		pkg: "shard/journal/replica", run: "TestSimulation$|TestVoteIsDurable",
	},
	{
		name: "a leader decides before the first entry of its term is applied", file: "shard/journal/replica/batch.go",
		old: "g.term, g.ready, g.ticked, g.probes, g.shots = term, false, map[uint64]uint64{}, map[uint64]probe{}, map[uint64]shot{}",
		new: "g.term, g.ready, g.ticked, g.probes, g.shots = term, term != 0, map[uint64]uint64{}, map[uint64]probe{}, map[uint64]shot{}\n\t\tif g.ready {\n\t\t\th.events = append(h.events, Event{Kind: Leads, Group: g.id, Term: term, Leader: g.self})\n\t\t}",
		pkg: "shard/journal/replica", run: "TestSimulation$",
	},
	{
		name: "a leader is sure of itself until it hears of another", file: "shard/journal/replica/sure.go",
		old: "return list[(len(list)-1)/2] //", new: "return Forever //",
		pkg: "shard/journal", run: "TestOldLeader", quick: true,
	},
	{
		name: "a hand-over counts also when it has come to nothing", file: "shard/journal/replica/sure.go",
		old: "return g.word.firm && g.word.term == term && g.word.at > at", new: "return false",
		pkg: "shard/journal/replica", run: "TestLateHandOver", quick: true,
	},
	{
		name: "what an owner held leaves without a word of others", file: "shard/doubt.go",
		old: "case !g.Led(d.at):", new: "case d.n < 0:",
		pkg: "shard", run: "TestDoubt",
	},
	{
		name: "one of three is a majority", file: "shard/journal/replica/sure.go",
		old: "return list[(len(list)-1)/2] //", new: "return list[len(list)-1] //",
		pkg: "shard/journal", run: "TestOldLeader",
	},
	{
		name: "an accepted loss begins no epoch", file: "shard/journal/watch.go",
		old: "epoch: max(fenced.epoch, whole.epoch) + 1}", new: "epoch: max(fenced.epoch, whole.epoch)}",
		pkg: "shard/journal", run: "TestAcceptDamagedLog|TestLossIsKeptUntilAccepted",
	},
	// The cluster.
	{
		name: "the id of a replica is given again", file: "cluster/state.go",
		old: "n.Replicas++", new: "n.Replicas = max(n.Replicas, 1)",
		model: true, pkg: "cluster", run: "TestModel|TestMove", quick: true,
	},
	{
		name: "mail that comes again over a new connection is taken again", file: "exchange/link/serve.go",
		old: "if next < k.expected {", new: "if false {",
		pkg: "exchange/link", run: "Test",
	},
	{
		name: "a dial that was long on its way takes the place of a later one", file: "exchange/link/serve.go",
		old: "if h.dial <= k.dialled[h.kind] {", new: "if h.dial == 0 {",
		pkg: "exchange/link", run: "Test",
	},
	// Sessions.
	{
		name: "a seq is given again", file: "session/fact.go",
		old: "s.Head = e.Seq\n", new: "if e.Kind != wire.KindEvent {\n\t\ts.Head = e.Seq\n\t}\n",
		model: true, pkg: "session", run: "TestModel",
	},
	{
		name: "an assignment has the ae of the one before", file: "session/route.go",
		old: "d.fact(s, Fact{Kind: Granted, N: s.AE + 1, HumanOnly: humans,", new: "d.fact(s, Fact{Kind: Granted, N: max(s.AE, 1), HumanOnly: humans,",
		model: true, pkg: "session", run: "TestModel", quick: true,
	},
	{
		name: "a word under an old ae is accepted", file: "session/decide.go",
		old: "if s.owns(c.Who) && c.AE == s.AE {", new: "if s.owns(c.Who) {",
		model: true, pkg: "session", run: "TestModel|TestScripts",
	},
	{
		name: "a worker who is not the owner is let through", file: "session/decide.go",
		old: "if s.owns(c.Who) && c.AE == s.AE {", new: "if c.AE == s.AE {",
		model: true, pkg: "session", run: "TestModel|TestScripts",
	},
	{
		name: "keys stay where the shard was", file: "shard/keys.go",
		old: "return append(keys, fresh...), l.lines[:split], nil", new: "return nil, nil, nil",
		pkg: "shard", run: "TestCustomerTalksToBotAcrossRestart|TestKeys",
	},
	{
		name: "a hand-off begins behind what was said and not acknowledged", file: "session/route.go",
		old: "s.bind(g.Conn, g.Window, s.Cursor)\n", new: "s.bind(g.Conn, g.Window, s.Head)\n",
		model: true, pkg: "session", run: "TestModel|TestScripts",
	},
	{
		name: "what comes with a hand-off was put together before its last entry", file: "session/route.go",
		old: "for _, e := range tail[first:] {", new: "for _, e := range tail[first:max(first, len(tail)-1)] {",
		model: true, pkg: "session", run: "TestModel|TestScripts",
	},
	{
		name: "a grant for an earlier ticket is taken", file: "session/route.go",
		old: "(s.Phase != Queued || g.Ticket != s.Ticket)", new: "s.Phase != Queued",
		model: true, pkg: "session", run: "TestModel|TestScripts",
	},
	{
		name: "the word of a pool that is none any more counts", file: "session/route.go",
		old: "if g.Pool < s.Pool {\n", new: "if g.Pool == 0 && s.Pool > 0 {\n",
		model: true, pkg: "session", run: "TestModel|TestScripts",
	},
	{
		name: "what nobody answered is released away", file: "session/worker.go",
		old: "if s.Cursor < s.Said {\n\t\ts.enqueue(env, s.Queue, w, d)", new: "if s.Cursor > s.Said {\n\t\ts.enqueue(env, s.Queue, w, d)",
		model: true, pkg: "session", run: "TestModel|TestScripts",
	},
	// Erasing.
	{
		name: "who became a customer is not erased with him", file: "shard/purge.go",
		old: "			w.kin = append(w.kin, cu.ID)\n", new: "",
		pkg: "shard", run: "TestErasedRows",
	},
	{
		name: "entries of an erased session stay as they are in their rows", file: "shard/purge.go",
		old: "if !bytes.Equal(row, v) {", new: "if false {",
		pkg: "shard", run: "TestErasedRows",
	},
	{
		name: "the keys of an erased session stay", file: "shard/host.go",
		old: "			s.put(keylessRows(nil, h.id))\n", new: "",
		pkg: "shard", run: "TestErasedRows",
	},
	{
		name: "the external ids of an erased customer stay in their rows", file: "shard/purge.go",
		old: "				w.rows = append(w.rows, rewritten{key: bytes.Clone(key)})\n", new: "",
		pkg: "shard", run: "TestErasedRows",
	},
	{
		name: "a claim behind the look through a shard is not kept off", file: "shard/guard.go",
		old: "	if !guarded {\n", new: "	if guarded = false; !guarded {\n",
		pkg: "shard", run: "TestClaimedWhileErased",
	},
	{
		name: "the next owner does not know that claims are kept off", file: "shard/guard.go",
		old: "	s.turn.Put(guardKey(k), []byte(mark))\n", new: "",
		pkg: "shard", run: "TestClaimedWhileErased",
	},
	{
		name: "a late letter of an erasure is done", file: "shard/guard.go",
		old: "	return slices.Contains(s.guards.over, overMark{k, mark})\n", new: "	return mark == \"\" && slices.Contains(s.guards.over, overMark{k, mark})\n",
		pkg: "shard", run: "TestClaimedWhileErased",
	},
	{
		name: "a claim from before an erasure is believed behind it", file: "shard/identity.go",
		old: "if m := cu.state.Erasure.Mark; c.Way.Mark != m {", new: "if m := cu.state.Erasure.Mark; m == \"-\" {",
		pkg: "shard", run: "TestClaimFromBefore",
	},
	{
		name: "an erasure does not know who was erased with its customer", file: "shard/purge.go",
		old: "Slots: slots, Kin: p.also})", new: "Slots: slots})",
		pkg: "shard", run: "TestErasedWithHim",
	},
	{
		name: "what an erased session has in memory keeps its words", file: "session/erase.go",
		old: "s.tail.add(Blank(e))", new: "s.tail.add(e)",
		model: true, pkg: "session", run: "TestModel",
	},
	{
		name: "rows that come late are not settled before the files are rewritten", file: "shard/journal/scrub.go",
		old: "	if err := j.settle(); err != nil {\n		return err\n	}\n", new: "",
		pkg: "shard/journal", run: "TestScrub",
	},
	{
		name: "the log is not truncated when files are rewritten", file: "shard/journal/scrub.go",
		old: "fn: func() error { return j.truncate(ends) }})", new: "fn: func() error { return nil }})",
		pkg: "shard/journal", run: "TestScrub",
	},
	{
		name: "a restore does not look who was erased since", file: "node/restore.go",
		old: "			row, keep, err := forget.Row(k, v)\n", new: "			row, keep, err := v, true, error(nil)\n",
		pkg: "node", run: "TestEraseInBackups",
	},
	// Owners and edges.
	{
		name: "each piece of mail that found nobody has all of it tried again", file: "shard/shard.go",
		old: "if s.retryAt == 0 { // one alarm", new: "if s.retryAt >= 0 { // one alarm",
		pkg: "shard", run: "TestMailWaits",
	},
	{
		name: "an edge that lost mail does not ask for what it missed", file: "edge/standing.go",
		old: "&& s.losses == losses:", new: "&& losses >= s.losses:",
		pkg: "edge", run: "TestLostMail",
	},
	{
		name: "what an edge missed is told as if its client knew", file: "broker/pool.go",
		old: "c.rebind(t, resumed, out)", new: "c.rebind(t, false, out)",
		model: true, pkg: "broker", run: "TestResumed",
	},
	{
		name: "who comes back and is away takes himself for ready", file: "broker/pool.go",
		old: "if differs || !s.Resumed && w.presence != Ready {", new: "if differs {",
		pkg: "broker", run: "TestScripts",
	},
	{
		name: "another client of a worker is what the one before him was", file: "broker/pool.go",
		old: "if s.Lease != w.lease && s.Conn != w.conn && !s.Resumed {", new: "if false {",
		pkg: "broker", run: "TestScripts",
	},
	{
		name: "an edge that asks takes its worker back to what he was", file: "broker/pool.go",
		old: "known := w != nil && w.connected && w.conn == s.Conn //", new: "known := false //",
		pkg: "broker", run: "TestScripts",
	},
	// The pool.
	{
		name: "capacity is given back twice", file: "broker/worker.go",
		old: "\tw.used -= t.charge\n", new: "\tw.used -= 2 * t.charge\n",
		model: true, pkg: "broker", run: "TestModel", quick: true,
	},
	{
		name: "a pool takes the answer to the census of the one before it", file: "broker/census.go",
		old: "ok && p == c.number", new: "ok",
		model: true, pkg: "broker", run: "TestModel",
	},
	{
		name: "a pool gives its offers the names that the one before it gave", file: "broker/offer.go",
		old: "strconv.AppendUint(b, p, 36)", new: "strconv.AppendUint(b, 0*p, 36)",
		model: true, pkg: "broker", run: "TestModel",
	},
	{
		name: "nobody is told that a worker is free again", file: "broker/worker.go",
		old: "c.freed = append(c.freed, w)", new: "_ = c.freed",
		model: true, pkg: "broker", run: "TestModel",
	},
	{
		name: "an offer that has ended can be accepted", file: "broker/offer.go",
		old: "\tdelete(c.offers, t.offer)\n", new: "",
		pkg: "broker", run: "TestScripts",
	},
	{
		name: "an assignment is told before the answer to its worker's subscription", file: "edge/early.go",
		old: "	if !c.subscribing() {\n		c.encode(f)\n", new: "	if c.rare == nil || !c.subscribing() {\n		c.encode(f)\n",
		pkg: "edge", run: "TestSubscribedFirst",
	},
	// In whole nodes.
	{
		name: "whole nodes: keys stay where the shard was", file: "shard/keys.go",
		old: "return append(keys, fresh...), l.lines[:split], nil", new: "return nil, nil, nil",
		pkg: "internal/sim", run: "TestBrief",
	},
	{
		name: "whole nodes: a word is acknowledged when it is proposed, and not when a majority has it", file: "shard/shard.go",
		old: "	durable := s.durable.Load()\n	if s.cfg.Witness", new: "	durable := s.last\n	if s.cfg.Witness",
		pkg: "internal/sim", run: "TestBrief",
	},
	{
		name: "whole nodes: a hand-off begins behind what was said and not acknowledged", file: "session/route.go",
		old: "s.bind(g.Conn, g.Window, s.Cursor)\n", new: "s.bind(g.Conn, g.Window, s.Head)\n",
		pkg: "internal/sim", run: "TestBrief",
	},
	{
		name: "whole nodes: what comes with a hand-off was put together before its last entry", file: "session/route.go",
		old: "for _, e := range tail[first:] {", new: "for _, e := range tail[first:max(first, len(tail)-1)] {",
		pkg: "internal/sim", run: "TestBrief",
	},
	{
		name: "whole nodes: a hand-off tells the cursor of before the last answer", file: "session/route.go",
		old: "Cursor: s.Cursor, Head: s.Head,", new: "Cursor: max(s.Cursor, 1) - 1, Head: s.Head,",
		pkg: "internal/sim", run: "TestBrief",
	},
	{
		name: "whole nodes: what a worker did not acknowledge is lost with his connection", file: "session/pump.go",
		old: "	s.bind(conn, window, s.Cursor)\n", new: "	s.bind(conn, window, max(s.Cursor, s.owner.sent))\n",
		pkg: "internal/sim", run: "TestBrief",
	},
	{
		name: "whole nodes: capacity is given back twice", file: "broker/worker.go",
		old: "\tw.used -= t.charge\n", new: "\tw.used -= 2 * t.charge\n",
		pkg: "internal/sim", run: "TestBrief",
	},
}
