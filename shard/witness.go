package shard

import "switchboard/broker"

// Witness is told what shards do, as they do it. A simulation holds what those of several nodes say against each other; nobody else has one.
// The functions are called by the goroutine that owns the shard: they must return at once, and keep nothing that they are shown. None is nil.
type Witness struct {
	// Opens: an owner begins. At is the last turn that the log has.
	Opens func(At)
	// Decides: it has given a turn to the log.
	Decides func(At)
	// Durable: it has heard that its turns up to that of At are durable, and what they caused is told from then on. LSN and Epoch are 0.
	Durable func(At)
	// Pool: a pool was told something, and has done what follows from it.
	Pool func(shard int, number uint64, core *broker.Core)
}

// At is how far a shard is.
type At struct {
	Shard int
	Term  uint64 // the owner's: no two have the same
	Turn  uint64 // its number in the log
	LSN   uint64 // of the last entry
	Epoch uint64 // that entries are written under
}

func (s *Shard) at() At {
	return At{Shard: s.cfg.ID, Term: s.term, Turn: s.last, LSN: s.lsn, Epoch: s.epoch()}
}
