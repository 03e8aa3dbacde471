package shard

import (
	"switchboard/broker/routes"
	"switchboard/broker/selector"
	"switchboard/session"
	"switchboard/wire"
)

// rulesOf returns what sessions go by while somebody has them, by queue, as a document's rules say that travelled here.
func rulesOf(b []byte) (map[string]*session.Rule, error) {
	list, err := routes.ParseRules(b)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	all := make(map[string]*session.Rule, len(list))
	for _, r := range list {
		x := &session.Rule{FailedTurns: r.FailedTurns, FailedTypes: r.FailedTypes, AskedTypes: r.AskedTypes, To: r.To, ParkMS: r.ParkMS, AbsentMS: r.AbsentMS, WrapUpMS: r.WrapUpMS}
		if r.Holds != nil {
			x.Holds = func(s *session.State) bool {
				return r.Holds.Eval(attributesOf(&wire.Task{
					Attributes: s.Attributes, Channel: s.Channels[0], Queue: s.Queue, Shop: s.Shop, Tier: s.Tier, Sticky: s.LastWorker,
				}), &selector.Worker{})
			}
		}
		all[r.Queue] = x
	}
	return all, nil
}
